#!lua flags=allow-oom
-- Shows how far a running job is. Only the owner of its lease may: nobody would delete the key that another one leaves.
-- KEYS  1 lease  2 progress
-- ARGV  1 token of the lease  2 the progress  3 how long to keep it, in ms  4 channel of events  5 job id
-- returns 1 if it was written, 0 if the lease was not the caller's
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/publish_changes"
local lease, progress = KEYS[1], KEYS[2]
local token, record, keep_ms, channel, id = unpack(ARGV)

if call_or_reset(lease, 'GET') ~= token then
  return 0
end
redis.call('SET', progress, record, 'PX', keep_ms)
publish_changes(channel, {'progress ' .. id}, record)
return 1

#!lua flags=allow-oom
-- Reads or writes how far one effect of a job has come. Only the owner of the job's lease may write.
-- KEYS  1 running  2 lease  3 try counter  4 effects
-- ARGV  1 job id  2 token of the lease  3 name of the effect  4 its new state: '' to read, 'forget', or the state to keep
-- returns {1 if the lease is the caller's else 0, the state that is kept or false}
--- @include "redis/parts/still_owned"
local running, lease, tries, effects = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, token, name, state = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local owned = still_owned(running, lease, tries, id, token)
if owned and state == 'forget' then
  redis.call('HDEL', effects, name)
elseif owned and state ~= '' then
  redis.call('HSET', effects, name, state)
end
return {owned and 1 or 0, redis.call('HGET', effects, name)}

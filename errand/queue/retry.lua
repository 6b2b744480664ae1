-- Makes a job that waits for its next attempt due now.
-- KEYS  1 queue  2 wake  3 body  4 result  5 lease  6 try counter  7 running  8 attempts  9 progress
-- ARGV  1 job id  2 channel of events  3 the revision that it must have, or ''
-- returns 'retried', or what the job is instead: 'queued', 'deferred' (for its first attempt), 'in_progress', 'ended',
--         'unknown', 'changed' (it has another revision)
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "redis/parts/lane"
local queue, wake, body, result, lease, tries = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, channel = ARGV[1], ARGV[2]
local names = {queue = queue, running = KEYS[7], lease = lease, tries = tries, attempts = KEYS[8], progress = KEYS[9]}

--- @include "queue/parts/revision"

if redis.call('EXISTS', result) == 1 then
  return 'ended'
elseif redis.call('EXISTS', lease) == 1 then
  return 'in_progress'
end
local due_ms = redis.call('ZSCORE', queue, id)
if redis.call('EXISTS', body) == 0 or not due_ms then
  return 'unknown'
end

--- @include "redis/parts/now"
if tonumber(due_ms) <= now_ms then
  return 'queued'
elseif tonumber(redis.call('GET', tries) or 0) < 1 then
  return 'deferred'
elseif not as_seen(ARGV[3], id, names) then
  return 'changed'
end

redis.call('ZADD', queue, 'XX', string.format('%.0f', now_ms), id)
move_in_lane(channel, id, now_ms)
wake_one(wake)
publish_changes(channel, {'queued ' .. id})
return 'retried'

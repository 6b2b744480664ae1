-- Pauses, resumes or removes a schedule, or sets its next time, if it still is what the caller has read.
-- KEYS  1 index  2 schedule
-- ARGV  1 id  2 revision  3 'pause', 'resume', 'remove' or 'bring back'  4 its next time in ms, or +inf; for a resume, and
--       to bring it back  5 channel of changes
-- returns 1 if that is done, or was already; 0 if it has been changed or removed since
local index, schedule = KEYS[1], KEYS[2]
local id, revision, change, next_ms, channel = unpack(ARGV)

if redis.call('HGET', schedule, 'revision') ~= revision then
  return 0
end
if change == 'pause' then
  redis.call('HSET', schedule, 'paused', 1)
  redis.call('ZADD', index, '+inf', id)
elseif change == 'remove' then
  redis.call('DEL', schedule)
  redis.call('ZREM', index, id)
elseif change == 'bring back' and redis.call('HEXISTS', schedule, 'paused') == 0
    or change == 'resume' and redis.call('HDEL', schedule, 'paused') == 1 then
  redis.call('ZADD', index, next_ms, id)
  redis.call('PUBLISH', channel, id)
end
return 1

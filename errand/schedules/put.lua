-- Keeps a schedule: a new one, or another definition of one that is there. Its pause and its last fire stay.
-- KEYS  1 index  2 schedule
-- ARGV  1 id  2 definition  3 source  4 revision  5 its next time in ms, or +inf  6 how many there may be
--       7 channel of changes
-- returns 'created', 'replaced', 'unchanged' (it is so already), 'other source' (it is not the caller's) or 'full'
local index, schedule = KEYS[1], KEYS[2]
local id, definition, source, revision, next_ms, most, channel = unpack(ARGV)

local kept, kept_source, paused = unpack(redis.call('HMGET', schedule, 'definition', 'source', 'paused'))
if kept and kept_source ~= source then
  return 'other source'
elseif kept == definition then
  return 'unchanged'
elseif not kept and redis.call('ZCARD', index) >= tonumber(most) then
  return 'full'
end

--- @include "redis/parts/now"
local now = string.format('%.0f', now_ms)
redis.call('HSETNX', schedule, 'created_ms', now)
redis.call('HSET', schedule, 'definition', definition, 'source', source, 'revision', revision, 'updated_ms', now)
redis.call('HDEL', schedule, 'problem')
redis.call('ZADD', index, paused and '+inf' or next_ms, id)
-- a ticker that sleeps until the next time it knew of may have to wake up earlier
redis.call('PUBLISH', channel, id)
return kept and 'replaced' or 'created'

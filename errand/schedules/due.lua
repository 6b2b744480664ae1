-- Looks which schedules' times have come.
-- KEYS  1 index
-- ARGV  1 now in ms, '' for the server's clock  2 how many of the first to pass over  3 how many at most
-- returns {now in ms, when the next one's time is or '', of each that is due: {id, its time, revision, definition}}
-- a time is a whole number of ms since the epoch; of what another program has written as one, the schedule is due now
local index, now_ms, passed, most = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- the server's clock decides, so that workers with skewed clocks agree on what is due
if not now_ms then
  local time = redis.call('TIME')
  now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
end
local now = string.format('%.0f', now_ms)

local due = {}
local found = redis.call('ZRANGEBYSCORE', index, '-inf', now, 'WITHSCORES', 'LIMIT', passed, most)
for at = 1, #found, 2 do
  local id, time_ms = found[at], found[at + 1]
  if not string.match(time_ms, '^%d+$') then
    time_ms = now
    redis.call('ZADD', index, 'XX', now, id)
  end
  local revision, definition = unpack(redis.call('HMGET', 'errand:schedule:' .. id, 'revision', 'definition'))
  if revision and definition then
    due[#due + 1] = {id, time_ms, revision, definition}
  else
    -- nothing is left of it but its time
    redis.call('ZREM', index, id)
  end
end
local coming = redis.call('ZRANGEBYSCORE', index, '(' .. now, '(+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {now, coming[2] and string.format('%.0f', math.ceil(tonumber(coming[2]))) or '', due}

-- Says that somebody watches a queue: for a while its changes are kept, for who misses some.
-- KEYS  1 watched  2 history
-- ARGV  1 for how long, in ms  2 how long the history is kept at least, in ms
-- returns {since where no change is missing, the first that is kept, the last}, as positions in the history
local watched, history = KEYS[1], KEYS[2]
local watch_ms, keep_ms = ARGV[1], ARGV[2]

local since = redis.call('GET', watched)
if not since or redis.call('EXISTS', history) == 0 then
  -- what happened while nobody watched is not in the history: a mark stands where it goes on
  since = redis.call('XADD', history, '*', 'change', '')
end
redis.call('SET', watched, since, 'PX', watch_ms)
if redis.call('PTTL', history) < tonumber(keep_ms) then
  redis.call('PEXPIRE', history, keep_ms)
end
local first = redis.call('XRANGE', history, '-', '+', 'COUNT', 1)
local last = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)
return {since, first[1][1], last[1][1]}

-- Marks a queue as watched: for a while its changes are kept, for clients that come back and ask what they missed.
-- KEYS  1 watched  2 history
-- ARGV  1 for how long, in ms  2 for how long at least the history is kept, in ms
-- returns {after which no change is missing, the first entry, the last}, as positions in the history
local watched, history = KEYS[1], KEYS[2]
local watch_ms, keep_ms = ARGV[1], ARGV[2]

local since = redis.call('GET', watched)
if not since or redis.call('EXISTS', history) == 0 then
  -- what changed while nobody watched is not in the history: a mark stands where it goes on
  since = redis.call('XADD', history, '*', 'change', '')
end
redis.call('SET', watched, since, 'PX', watch_ms)
if redis.call('PTTL', history) < tonumber(keep_ms) then
  redis.call('PEXPIRE', history, keep_ms)
end
local first = redis.call('XRANGE', history, '-', '+', 'COUNT', 1)
local last = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)
return {since, first[1][1], last[1][1]}

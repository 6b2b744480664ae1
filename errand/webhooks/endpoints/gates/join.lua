-- A message joins the end of the lines of ordered endpoints, before its deliveries are put.
-- KEYS  the lines
-- ARGV  1 message id  2 how long a line without news is kept, in ms
-- returns how many lines it has joined
--- @include "redis/parts/call_or_reset"
local message, keep_ms = ARGV[1], ARGV[2]
local clock, joined = redis.call('TIME'), 0

for _, line in ipairs(KEYS) do
  -- behind the last one in any case: the clock may have been set back, or be that of another server after a failover
  local last = tonumber(call_or_reset(line, 'ZRANGE', -1, -1, 'WITHSCORES')[2] or 0)
  joined = joined + call_or_reset(line, 'ZADD', 'NX', math.max(clock[1] * 1000000 + clock[2], last + 1), message)
  redis.call('PEXPIRE', line, keep_ms)
end
return joined

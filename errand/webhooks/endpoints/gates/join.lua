-- A message joins the end of the lines of ordered endpoints, before its deliveries are put.
-- KEYS  the lines
-- ARGV  1 message id  2 how long a line without news is kept, in ms
-- returns how many lines it has joined
--- @include "redis/parts/call_or_reset"
local message, keep_ms = ARGV[1], ARGV[2]
local clock, joined = redis.call('TIME'), 0

for _, line in ipairs(KEYS) do
  joined = joined + call_or_reset(line, 'ZADD', 'NX', clock[1] * 1000000 + clock[2], message)
  redis.call('PEXPIRE', line, keep_ms)
end
return joined

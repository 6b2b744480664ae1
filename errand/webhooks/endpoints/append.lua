-- Adds attempts at endpoints to the streams of these, each in its order.
-- KEYS  the streams
-- ARGV  1 how many entries a stream keeps, about  2 for how long after the last one, in ms  then for each attempt:
--       the number of its stream among KEYS, and its JSON
-- returns how many were added
--- @include "redis/parts/call_or_reset"
local limit, keep_ms = ARGV[1], ARGV[2]

for at = 3, #ARGV, 2 do
  call_or_reset(KEYS[tonumber(ARGV[at])], 'XADD', 'MAXLEN', '~', limit, '*', 'attempt', ARGV[at + 1])
end
for _, stream in ipairs(KEYS) do
  redis.call('PEXPIRE', stream, keep_ms)
end
return (#ARGV - 2) / 2

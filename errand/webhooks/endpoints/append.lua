-- Adds attempts at endpoints to the streams of these, each in its order.
-- KEYS  the streams
-- ARGV  1 how many entries a stream keeps, about  2 for how long after the last one, in ms  3 how many bytes it may take
--       then for each attempt: the number of its stream among KEYS, and its JSON
-- returns how many were added
--- @include "redis/parts/call_or_reset"
local limit, keep_ms, most_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3])
local LARGE_BYTES, LOOKED_AT, SPARE = 4096, 50, 0.9
local grown = {}

for at = 4, #ARGV, 2 do
  local stream = KEYS[tonumber(ARGV[at])]
  call_or_reset(stream, 'XADD', 'MAXLEN', '~', limit, '*', 'attempt', ARGV[at + 1])
  grown[stream] = grown[stream] or #ARGV[at + 1] > LARGE_BYTES
end
for _, stream in ipairs(KEYS) do
  redis.call('PEXPIRE', stream, keep_ms)
  -- a user of Redis may have no right to ask for it
  local bytes = grown[stream] and redis.pcall('MEMORY', 'USAGE', stream, 'SAMPLES', LOOKED_AT)
  if type(bytes) == 'number' and bytes > most_bytes then
    redis.call('XTRIM', stream, 'MAXLEN', '~', math.floor(redis.call('XLEN', stream) * SPARE * most_bytes / bytes))
  end
end
return (#ARGV - 3) / 2

-- Adds to the counters of this minute, which a chart of the day shows.
-- KEYS  1 the beginning of the names of the hours' strings
-- ARGV  1 how many counters a minute has  2 how long an hour is kept, in ms  3… of each counter: position, increment
--- @include "redis/parts/now"
local minute = math.floor(now_ms / 60000)
local hour = string.format('%s:%.0f', KEYS[1], math.floor(minute / 60))
local first = (minute % 60) * tonumber(ARGV[1])
for index = 3, #ARGV, 2 do
  local position = string.format('#%.0f', first + tonumber(ARGV[index]))
  redis.call('BITFIELD', hour, 'OVERFLOW', 'SAT', 'INCRBY', 'u32', position, ARGV[index + 1])
end
redis.call('PEXPIRE', hour, ARGV[2])

-- Lets deliveries to one endpoint through at its rate, those of all workers together (GCRA).
-- KEYS  1 when the endpoint, at its rate, has taken all that was let through, in µs since the epoch
-- ARGV  1 the time between two deliveries in µs  2 how far that may lie ahead, in µs: so many may go at once
-- returns 0 if one may go now; else in how many µs the next one may
--- @include "redis/parts/call_or_reset"
local taken_key, between, ahead = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local kept = tonumber(call_or_reset(taken_key, 'GET')) or 0
-- no further ahead than deliveries bring it, even if a clock that was set back, or another rate, has left more there
local taken = math.min(math.max(now, kept), now + ahead + between)

local wait = taken - now - ahead
if wait > 0 then
  if kept > taken then -- else the wait would have no end
    redis.call('PSETEX', taken_key, math.ceil((taken - now) / 1000), string.format('%.0f', taken))
  end
  return wait
end
taken = taken + between
redis.call('PSETEX', taken_key, math.ceil((taken - now) / 1000), string.format('%.0f', taken))
return 0

-- A delivery to an endpoint has failed.
-- KEYS  1 for each endpoint that fails since when it does, and when that was noted last, in ms
-- ARGV  1 its id  2 how far two failures may be apart, in ms, to count as one after the other
-- returns for how long it has failed, in ms
--- @include "redis/parts/now"
--- @include "redis/parts/call_or_reset"
local failing, id, apart_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])

local since_ms, latest_ms = string.match(call_or_reset(failing, 'HGET', id) or '', '^(%d+) ?(%d*)$')
since_ms = tonumber(since_ms) or now_ms
if now_ms - (tonumber(latest_ms) or now_ms) > apart_ms or since_ms > now_ms then
  since_ms = now_ms
end
redis.call('HSET', failing, id, string.format('%.0f %.0f', since_ms, now_ms))
return now_ms - since_ms

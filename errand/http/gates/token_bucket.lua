-- Takes requests out of a client's allowance: a bucket that refills steadily (GCRA).
-- KEYS  1 the client's bucket: when it will be full again, in us since the epoch; absent if it is full
-- ARGV  1 how many us one request takes to refill  2 how many requests the bucket holds  3 how many to take at most
-- returns {taken, left, in how many ms one more can be taken}
--- @include "redis/parts/call_or_reset"
local bucket = KEYS[1]
local interval_us, quota, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- the server's clock decides, so that all callers share one
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local span_us = interval_us * quota

-- no further ahead than an empty bucket, even if a clock that was set back, or another limit, has left more there
local kept_us = tonumber(call_or_reset(bucket, 'GET')) or now_us
local full_us = math.min(math.max(kept_us, now_us), now_us + span_us)

-- half an us against what adding fractions loses
local there = math.floor((now_us + span_us - full_us + 0.5) / interval_us)
local taken = math.min(there, most)
if taken > 0 then
  full_us = full_us + taken * interval_us
end
if taken > 0 or kept_us > full_us then -- what is too far ahead is written, too: else the bucket would not refill
  redis.call('SET', bucket, string.format('%.3f', full_us), 'PX', math.ceil((full_us - now_us) / 1000) + 1)
end
local left = there - taken
local wait_us = left > 0 and 0 or full_us + interval_us - span_us - now_us
return {taken, left, math.max(math.ceil(wait_us / 1000), 0)}

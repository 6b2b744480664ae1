-- Where a delivery stands in the line of an ordered endpoint; it joins the end if it is not in it.
-- KEYS  1 the line, message ids by when they joined, in µs  2 the job of each that was put, or '@' and since when, in
--       ms, others have waited for one of which that is not known
-- ARGV  1 message id  2 job id  3 how long others wait for such a one, in ms  4 how long a line without news is kept
-- returns how many are before it, the first of them, and what is known of that one
--- @include "redis/parts/now"
--- @include "redis/parts/call_or_reset"
local line, jobs = KEYS[1], KEYS[2]
local message, job, patience_ms, keep_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local MARKED_AT_ONCE = 100

if not call_or_reset(line, 'ZSCORE', message) then
  local last = tonumber(redis.call('ZRANGE', line, -1, -1, 'WITHSCORES')[2] or 0)
  redis.call('ZADD', line, math.max(time[1] * 1000000 + time[2], last + 1), message)
end
call_or_reset(jobs, 'HSET', message, job)
redis.call('PEXPIRE', line, keep_ms)
redis.call('PEXPIRE', jobs, keep_ms)
while true do
  local first = redis.call('ZRANGE', line, 0, 0)[1]
  if first == message then
    return {0, '', ''}
  end
  local known = redis.call('HGET', jobs, first)
  if not known then
    known = '@' .. now_ms
    -- an outage may have left several that were never put: they are waited for together, not one after another
    local before = math.min(redis.call('ZRANK', line, message), MARKED_AT_ONCE)
    for _, other in ipairs(redis.call('ZRANGE', line, 0, before - 1)) do
      redis.call('HSETNX', jobs, other, known)
    end
  end
  local waited_since_ms = tonumber(string.match(known, '^@(%d+)$'))
  if not waited_since_ms or now_ms - waited_since_ms <= patience_ms then
    return {redis.call('ZRANK', line, message), first, known}
  end
  redis.call('ZREM', line, first) -- it was announced, and never put
  redis.call('HDEL', jobs, first)
end

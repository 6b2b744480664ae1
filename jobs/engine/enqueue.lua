-- Puts one job into a queue, once.
-- KEYS  1 body  2 result  3 queue
-- ARGV  1 job id  2 serialised job  3 delay in ms  4 run-at in ms since the epoch, or ''
-- returns {1, due in ms} when put and due at once, {2, due in ms} when put for later, {0, 0} when a job of that id exists
local body, result, queue = KEYS[1], KEYS[2], KEYS[3]
local id, job, delay_ms, run_at_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

if redis.call('EXISTS', body, result) > 0 then
  return {0, 0}
end

-- the server's clock decides, so that clients with skewed clocks agree on what is due
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local due_ms = math.max(now_ms, run_at_ms or now_ms + delay_ms)

-- no expiry: what was accepted waits until it runs
redis.call('SET', body, job)
redis.call('ZADD', queue, string.format('%d', due_ms), id)
return {due_ms > now_ms and 2 or 1, due_ms}

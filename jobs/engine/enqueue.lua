-- Puts jobs into a queue, each once.
-- KEYS  1 queue  2 wake  3… of each job: body, result
-- ARGV  1 channel of events  2… of each job: id, serialised job, delay in ms, run-at in ms since the epoch or ''
-- returns of each job: when it is due in ms, negative where that is later; 0 where a job of its id exists
local queue, wake, channel = KEYS[1], KEYS[2], ARGV[1]

-- the server's clock decides, so that clients with skewed clocks agree on what is due
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
local first_ms = tonumber(head[2] or math.huge)

local answers, changes, urgent = {}, {}, false
for number = 1, (#ARGV - 1) / 4 do
  local at = number * 4 - 2
  local id, job, delay_ms, run_at_ms = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local body, result = KEYS[number * 2 + 1], KEYS[number * 2 + 2]
  if redis.call('EXISTS', body, result) > 0 then
    answers[number] = 0
  else
    local due_ms = math.max(now_ms, run_at_ms or now_ms + delay_ms)
    local later = due_ms > now_ms
    -- no expiry: what was accepted waits until it runs
    redis.call('SET', body, job)
    redis.call('ZADD', queue, string.format('%.0f', due_ms), id)
    answers[number] = later and -due_ms or due_ms
    changes[#changes + 1] = (later and 'deferred ' or 'queued ') .. id
    urgent = urgent or not later or due_ms < first_ms
  end
end

-- one token wakes one idle worker; it is needed for what is due now, or sooner than anybody knows
if urgent and redis.call('LLEN', wake) == 0 then
  redis.call('LPUSH', wake, 1)
end
if #changes > 0 then
  redis.call('PUBLISH', channel, table.concat(changes, '\n'))
end
return answers

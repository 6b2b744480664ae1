-- Puts jobs into a queue, each once, as long as it has room, and on the terms that some of them have.
-- KEYS  1 queue  2 wake  3 running  4… of each job: body, result; then those that terms name by their number
-- ARGV  1 channel of events  2 the most jobs that the queue may hold, unfinished ones of any kind; 0 without a limit
--       3 whether all are put or none where they do not all fit (0 or 1)
--       4 '' or terms as JSON, a list of {job, whole, mark, unique}: job: by its number; whole: it stands for all;
--         mark {at, record, keep_ms}: the first answer under a key; unique {at, for_ms or limit_ms, replaces}
--       5… of each job: id, serialised job, delay in ms, run-at in ms since the epoch or ''
-- returns of each job: when it is due in ms, negative where that is later; 0 where a job of its id exists, 1 where
--         the queue is full; where terms keep it out the first answer, or 'held STATE ID' (of a whole call: that alone)
--- @include "redis/parts/now"
--- @include "queue/parts/conditions"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
local queue, wake, running, channel = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local limit, together, terms = tonumber(ARGV[2]), ARGV[3] == '1', terms_of(ARGV[4])
local number_of_jobs = (#ARGV - 4) / 4

local room = limit > 0 and limit - redis.call('ZCARD', queue) or math.huge
if together and number_of_jobs > room then
  room = 0
end
local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
local first_ms = tonumber(head[2] or math.huge)

-- an earlier job of that id has expired, as a stock producer's may: its tries and attempts are not the new one's
local function forget_expired(id)
  redis.call('DEL', 'arq:retry:' .. id, 'errand:attempts:' .. id, 'errand:progress:' .. id, 'errand:once:' .. id)
  redis.call('HDEL', running, id)
end

local answers, changes, urgent = {}, {}, false
for number = 1, number_of_jobs do
  local at = number * 4 + 1
  local id, job, delay_ms, run_at_ms = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local body, result = KEYS[number * 2 + 2], KEYS[number * 2 + 3]
  local term = terms[number]
  local instead = term and instead_of(term)
  if instead then
    answers[number] = instead
    if term.whole then
      return answers
    end
  elseif redis.call('EXISTS', body, result) > 0 then
    answers[number] = 0
  elseif room < 1 then
    answers[number] = 1
  else
    room = room - 1
    local due_ms = math.max(now_ms, run_at_ms or now_ms + delay_ms)
    local later = due_ms > now_ms
    -- no expiry: what was accepted waits until it runs
    redis.call('SET', body, job)
    if redis.call('ZADD', queue, string.format('%.0f', due_ms), id) == 0 then
      forget_expired(id)
    end
    answers[number] = later and -due_ms or due_ms
    changes[#changes + 1] = (later and 'deferred ' or 'queued ') .. id
    urgent = urgent or not later or due_ms < first_ms
    if term then
      remember(term, id, due_ms)
    end
  end
end

-- for what is due now, or sooner than anybody knows
if urgent then
  wake_one(wake)
end
if #changes > 0 then
  publish_changes(channel, changes)
end
return answers

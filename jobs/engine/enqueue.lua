-- Puts jobs into a queue, each once, as long as it has room, and on the terms that some of them have.
-- KEYS  1 queue  2 wake  3 running  4… of each job: body, result; then those that terms name by their number
-- ARGV  1 channel of events  2 the most jobs that the queue may hold, unfinished ones of any kind; 0 without a limit
--       3 whether all are put or none where they do not all fit (0 or 1)
--       4 '' or terms as JSON, a list of {job, whole, mark, unique}: job: by its number; whole: it stands for all;
--         mark {at, record, keep_ms}: the first answer under a key; unique {at, for_ms or limit_ms, replaces}
--       5… of each job: id, serialised job, delay in ms, run-at in ms since the epoch or ''
-- returns of each job: when it is due in ms, negative where that is later; 0 where a job of its id exists, 1 where
--         the queue is full; where terms keep it out the first answer, or 'held STATE ID' (of a whole call: that alone)
-- with tell.lua
local queue, wake, running, channel = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local limit, together = tonumber(ARGV[2]), ARGV[3] == '1'
local number_of_jobs = (#ARGV - 4) / 4

local room = limit > 0 and limit - redis.call('ZCARD', queue) or math.huge
if together and number_of_jobs > room then
  room = 0
end

local terms = {}
if ARGV[4] ~= '' then
  for _, term in ipairs(cjson.decode(ARGV[4])) do
    terms[term.job] = term
  end
end

local function first_answer(mark)
  local kept = redis.call('GET', KEYS[mark.at])
  if kept then
    -- a write, so that a WAIT behind this call speaks for the first one's jobs as well
    redis.call('SET', KEYS[mark.at], kept, 'KEEPTTL')
  end
  return kept
end

-- a marker counts as long as its job has not ended, or, where it is for a time, as long as its job is known
local function held(unique)
  local kind, id = string.match(redis.call('GET', KEYS[unique.at]) or '', '^(%a+) (.+)$')
  if id and redis.call('EXISTS', 'arq:job:' .. id) == 1 then
    if kind == 'end' and unique.limit_ms then
      redis.call('PEXPIRE', KEYS[unique.at], unique.limit_ms, 'GT')
    end
    return (redis.call('EXISTS', 'arq:in-progress:' .. id) == 1 and 'held running ' or 'held waiting ') .. id
  elseif kind == 'for' and id ~= unique.replaces and redis.call('EXISTS', 'arq:result:' .. id) == 1 then
    return 'held ended ' .. id
  end
end

-- the server's clock decides, so that clients with skewed clocks agree on what is due
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function remember(term, id, due_ms)
  local mark, unique = term.mark, term.unique
  if mark then
    local due = string.format('%.0f ', due_ms > now_ms and -due_ms or due_ms)
    redis.call('SET', KEYS[mark.at], due .. mark.record, 'PX', mark.keep_ms)
  end
  if unique then
    local keep_ms = string.format('%.0f', unique.for_ms or due_ms - now_ms + unique.limit_ms)
    redis.call('SET', KEYS[unique.at], (unique.for_ms and 'for ' or 'end ') .. id, 'PX', keep_ms)
  end
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
  local instead = term and (term.mark and first_answer(term.mark) or term.unique and held(term.unique))
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

-- one token wakes one idle worker; it is needed for what is due now, or sooner than anybody knows
if urgent and redis.call('LLEN', wake) == 0 then
  redis.call('LPUSH', wake, 1)
end
if #changes > 0 then
  tell(channel, changes)
end
return answers

-- Puts jobs into a queue, each once, if it has room, and on the conditions that some of them have.
-- KEYS  1 queue  2 wake  3 running  4… of each job: body, result; then those that conditions name by their number
-- ARGV  1 channel of events  2 how many unfinished jobs the queue may hold; 0 without a limit
--       3 whether all are put or none if they do not all fit (0 or 1)
--       4 '' or conditions as JSON, a list of {job, whole, mark, unique, expires_in_ms, flow, priority}: job: its number;
--         whole: it stands for all; mark {at, record, keep_ms}; unique {at, for_ms or limit_ms, replaces, moves}
--       5 when the caller waits no longer, in ms since the epoch, or ''
--       6… of each job: id, serialised job, delay in ms, run-at in ms since the epoch or ''
-- returns {tags, details, now in ms}; both lists have an entry for each job (one if it stands for all and is kept out, or
--         is too late): queued, deferred: when it is due, in ms since the epoch; exists: a job of its id does, 0; full: the
--         queue is, 0; answered: the first answer under its key; held: 'STATE ID' of the job that holds its unique key;
--         unknown: a job that it is to wait for; late: the caller has given up, 0
--- @include "redis/parts/now"
--- @include "queue/parts/new_ones"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "queue/parts/conditions" as of_conditions
local queue, wake, running, channel, number_of_jobs = KEYS[1], KEYS[2], KEYS[3], ARGV[1], (#ARGV - 5) / 4
local limit, together = tonumber(ARGV[2]), ARGV[3] == '1'
if now_ms > (tonumber(ARGV[5]) or now_ms) then
  return {{'late'}, {0}, now_ms}
end
-- a condition may write: a queue of a wrong type is refused before that
local waiting = (limit > 0 or ARGV[4] ~= '') and redis.call('ZCARD', queue)
local room = limit > 0 and limit - waiting or math.huge
room = together and number_of_jobs > room and 0 or room
local with = ARGV[4] ~= '' and of_conditions()
local conditions = with and with.conditions_of(ARGV[4]) or {}
local tags, details, changes, first_ms = {}, {}, {}, nil
local urgent = room >= number_of_jobs and put_new_ones(number_of_jobs, tags, details, changes, conditions, with)
for number = #tags + 1, number_of_jobs do
  local at = number * 4 + 2
  local id, job, delay_ms, run_at_ms = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local body, result = KEYS[number * 2 + 2], KEYS[number * 2 + 3]
  local due_ms = math.max(now_ms, run_at_ms or now_ms + delay_ms)
  local condition, tag, detail = conditions[number]
  if condition then
    tag, detail = with.kept_out(condition, {queue = queue, job = job, due_ms = due_ms, changes = changes})
    if tag and condition.whole then
      return {{tag}, {detail}, now_ms}
    end
  end
  if not tag and is_known(body, result) then
    tag, detail = 'exists', 0
  elseif not tag and room < 1 then
    tag, detail = 'full', 0
  elseif not tag then
    room = room - 1
    detail = due_ms
    tag = detail > now_ms and 'deferred' or 'queued'
    if tag == 'deferred' and not first_ms then
      first_ms = tonumber(redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2] or math.huge)
    end
    -- first what a queue of a wrong type refuses; no expiry: what was accepted waits until it runs
    local added = redis.call('ZADD', queue, string.format('%.0f', detail), id)
    redis.call('SET', body, condition and with.kept_job(condition, job) or job)
    if added == 0 then
      forget_expired(running, id)
    end
    changes[#changes + 1] = tag .. ' ' .. id
    urgent = urgent or tag == 'queued' or detail < first_ms
    if condition then
      with.remember(condition, channel, id, detail)
    end
  end
  tags[number], details[number] = tag, detail
end
-- for what is due now, or sooner than anybody knows
if urgent then
  wake_one(wake)
end
if #changes > 0 then
  publish_changes(channel, changes)
end
return {tags, details, now_ms}

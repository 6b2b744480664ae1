-- The jobs that follow an attempt: put by the call that accepts its success, or not at all. A part of finish.lua.
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "redis/parts/with_end"

-- `json`: '', or a list of {outcome, queue, wake, channel, jobs}: outcome: the number of the outcome in this call that they
-- follow; jobs: of each {id, serialised job, delay in ms, run-at in ms since the epoch or false, by when it must have
-- started, in ms from now, or false}
local function follow_ups_of(json)
  if json == '' then
    return nil
  end
  local of_outcomes = {}
  for _, in_queue in ipairs(cjson.decode(json)) do
    local known = of_outcomes[in_queue.outcome] or {}
    known[#known + 1] = in_queue
    of_outcomes[in_queue.outcome] = known
  end
  return of_outcomes
end

-- a job whose id exists is left as it is
local function put_follow_up(queue, job, now_ms)
  local id, body, delay_ms, run_at_ms, expires_in_ms = unpack(job)
  if redis.call('EXISTS', 'arq:job:' .. id, 'arq:result:' .. id) > 0 then
    return nil
  end
  local due_ms = math.max(now_ms, run_at_ms or now_ms + delay_ms)
  redis.call('SET', 'arq:job:' .. id, expires_in_ms and with_end(body, now_ms, expires_in_ms) or body)
  if call_or_reset(queue, 'ZADD', string.format('%.0f', due_ms), id) == 0 then
    -- the body of an earlier job of that id has expired
    redis.call('DEL', 'arq:retry:' .. id, 'errand:attempts:' .. id, 'errand:progress:' .. id, 'errand:once:' .. id)
  end
  return (due_ms > now_ms and 'deferred ' or 'queued ') .. id
end

local function put_follow_ups(of_outcomes, number, status, now_ms)
  if not of_outcomes or status ~= 'succeeded' then
    return
  end
  for _, in_queue in ipairs(of_outcomes[number] or {}) do
    local changes = {}
    for _, job in ipairs(in_queue.jobs) do
      changes[#changes + 1] = put_follow_up(in_queue.queue, job, now_ms)
    end
    if #changes > 0 then
      wake_one(in_queue.wake)
      publish_changes(in_queue.channel, changes)
    end
  end
end

-- What an earlier attempt of a job has left behind: a part of claim.lua.
-- `started`: the job's entry among the running jobs, `number due_ms started_ms token`, or nothing
--- @include "redis/parts/call_or_reset"

-- true if the worker itself started the job: its loop may have been blocked for longer than the lease, which it will
-- then renew
local function may_run_still(running, id, worker)
  local started = worker ~= '' and redis.call('HGET', running, id)
  return started and string.find(started, ' ' .. worker .. '#', 1, true)
end

-- true if somebody has asked to cancel this job, and not an earlier one with its id
local function is_to_cancel(cancels, id, started)
  local asked = redis.call('HGET', cancels, id)
  return asked == '*' or (asked and started and string.sub(started, -#asked - 1) == ' ' .. asked)
end

-- records an attempt that was started and never ended: its worker died, unless it is heard of again (`lived_on.lua`)
-- returns 1 if there was one, else false
local function record_lost(id, started, now_ms)
  local number, due, started, worker = string.match(started, '^(%d+) (%d+)%S* (%d+) (.*)#%d+$')
  if not number then
    return false
  end
  call_or_reset('errand:attempts:' .. id, 'RPUSH', cjson.encode({
    number = tonumber(number), due_at_ms = tonumber(due), started_at_ms = tonumber(started), worker = worker,
    ended_at_ms = now_ms, outcome = 'lost',
    error = {type = 'WorkerLost', message = 'the worker ended, or lost its lease, before the attempt ended'},
  }))
  return 1
end

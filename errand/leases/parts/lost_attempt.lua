-- What an earlier attempt of a job has left behind: a part of claim.lua.
-- `started`: the job's entry among the running jobs, `number due_ms started_ms token`, or nothing
--- @include "redis/parts/call_or_reset"

-- of an entry that a worker has written; a pattern looks at a longer one in the square of its length
local MOST_CHARS = 1000

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
local function record_lost(id, started, now_ms, isolated)
  if #started > MOST_CHARS then
    return false
  end
  local number, due, started_ms, token = string.match(started, '^(%d+) (%d+)%S* (%d+) (.*#%d+)$')
  if not number then
    return false
  end
  local lost = {type = 'WorkerLost', message = 'the worker ended, or lost its lease, before the attempt ended'}
  if call_or_reset(isolated, 'HGET', id) == token then
    lost = {type = 'IsolatedWorkerLost', message = 'the worker ended before the attempt did, which ran isolated'}
  end
  redis.call('HDEL', isolated, id)
  call_or_reset('errand:attempts:' .. id, 'RPUSH', cjson.encode({
    number = tonumber(number), due_at_ms = tonumber(due), started_at_ms = tonumber(started_ms),
    worker = string.match(token, '^(.*)#%d+$'), ended_at_ms = now_ms, outcome = 'lost', error = lost,
  }))
  return 1
end

-- What an earlier attempt of a job has left behind: a part of claim.lua, behind sound.lua.
-- started: `number due_ms started_ms token`, as it stands among the running jobs, or nothing
--- @include "leases/parts/reset_if_wrong_type"

-- a worker whose loop was blocked may have let leases lapse of jobs that it still runs: it will renew them
local function may_run_still(running, id, worker)
  local started = worker ~= '' and redis.call('HGET', running, id)
  return started and string.find(started, ' ' .. worker .. '#', 1, true)
end

-- of this life of the job: an id may be used again
local function is_to_cancel(cancels, id, started)
  local asked = redis.call('HGET', cancels, id)
  return asked == '*' or (asked and started and string.sub(started, -#asked - 1) == ' ' .. asked)
end

-- an attempt that was started and never ended died with its worker: it is part of the job's story
-- returns 1 where there was one, else false
local function record_lost(id, started, now_ms)
  local number, due, started, worker = string.match(started, '^(%d+) (%d+)%S* (%d+) (.*)#%d+$')
  if not number then
    return false
  end
  sound('errand:attempts:' .. id, 'RPUSH', cjson.encode({
    number = tonumber(number), due_at_ms = tonumber(due), started_at_ms = tonumber(started), worker = worker,
    ended_at_ms = now_ms, outcome = 'lost',
    error = {type = 'WorkerLost', message = 'the worker ended, or lost its lease, before the attempt ended'},
  }))
  return 1
end

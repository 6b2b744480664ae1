-- The jobs that a limit holds back wait in lines: a part of claim.lua. `line:<name>` has those of one limit, and of one
-- key if it has one, by priority and by when they were due; `lines:<type>` the names of a type's lines, by when to look at them.
-- In the queue such a job is a deferred one, due again by itself in case nobody looks.
--- @include "redis/parts/call_or_reset"
--- @include "leases/parts/limits"
local LEAST_WAIT_MS, STEP_MS, LONGEST_WAIT_MS, NOTE_KEPT_MS = 60000, 5, 3600000, 3600000
-- a job of higher priority stands in line as if it had been due so much earlier, before all times that there are
local PRIORITY_MS = 1e13

-- why a job may not start now, {limit, name, look_ms}; nil if it may. One that comes new stands behind those in line
local function refusal(limits, job, is_first_in_line)
  for number, limit in ipairs(job.limits) do
    local name, wait_ms = job.names[number], 0
    if not is_first_in_line and redis.call('EXISTS', limits.prefix .. 'line:' .. name) == 1 then
      return {limit = limit, name = name}
    elseif not is_first_in_line and limit.turn and call_or_reset(limits.prefix .. 'slots:' .. name, 'SCARD') > 0 then
      -- those of other keys that are due come before a second one of this key
      return {limit = limit, name = name, look_ms = limits.now_ms, reason = limit.turn}
    elseif limit.per_ms then
      wait_ms = start_in_ms(limits, name, limit)
    elseif not has_slot(limits, name, limit.most) then
      wait_ms = limits.lease_ms
    end
    if wait_ms > 0 then
      return {limit = limit, name = name, look_ms = limits.now_ms + wait_ms}
    end
  end
end

local function due_in(order)
  return string.format('%.0f', tonumber(order) % PRIORITY_MS)
end

local function wait_in_line(limits, job, refused, due)
  local line, lines = limits.prefix .. 'line:' .. refused.name, limits.prefix .. 'lines:' .. job.type
  -- one whose worker was killed has its old turn, and its slot is free
  local started = string.match(redis.call('HGET', limits.running, job.id) or '', '^%d+ (%d+)')
  local order = string.format('%.0f', (started or due) - job.priority * PRIORITY_MS)
  local is_new = call_or_reset(line, 'ZADD', 'NX', order, job.id) == 1
  local look_ms = refused.look_ms or started and limits.now_ms
  call_or_reset(lines, 'ZADD', look_ms and 'LT' or 'NX', look_ms or limits.now_ms, refused.name)
  -- the more wait, the later, and spread, so that those that are due again by themselves stay few
  local longest_ms = math.min(math.max(LEAST_WAIT_MS, STEP_MS * redis.call('ZCARD', line)), LONGEST_WAIT_MS)
  local until_ms = math.ceil(limits.now_ms + longest_ms * (0.5 + (limits.looks * 0.618) % 1 / 2))
  until_ms = string.format('%.0f', math.min(until_ms, job.expires_ms or until_ms))
  redis.call('ZADD', limits.queue, 'XX', until_ms, job.id)
  local note = cjson.encode({code = refused.limit.code, reason = refused.reason or refused.limit.reason, at_ms = limits.now_ms})
  redis.call('SET', 'errand:put-back:' .. job.id, note, 'PXAT', string.format('%.0f', until_ms + NOTE_KEPT_MS))
  limits.changes[#limits.changes + 1] = is_new and 'deferred ' .. job.id or nil
end

-- true if that due job waits in line from now on; else it may start, and `limits.job` is what counts it, if it has limits
local function is_held_back(limits, id, due)
  local job = limited_job(limits, id)
  limits.job = nil
  if not job or redis.call('EXISTS', 'arq:in-progress:' .. id) == 1 or redis.call('HEXISTS', limits.cancels, id) == 1 then
    return false
  end
  local refused = refusal(limits, job, false)
  if refused then
    limits.looks = limits.looks - 1
    wait_in_line(limits, job, refused, due)
  end
  limits.job = job
  return refused ~= nil
end

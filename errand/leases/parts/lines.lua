-- The jobs that a limit holds back wait in lines: a part of claim.lua. `line:<name>` has those of one limit, and of one
-- key if it has one, by priority and by when they were due; `lines:<type>` the names of a type's lines, by when to look at them.
-- In the queue such a job is a deferred one, due again by itself in case nobody looks.
--- @include "redis/parts/call_or_reset"
--- @include "leases/parts/limits"
--- @include "leases/parts/refusal"
local LEAST_WAIT_MS, STEP_MS, LONGEST_WAIT_MS, NOTE_KEPT_MS = 60000, 5, 3600000, 3600000
-- a job of higher priority stands in line as if it had been due so much earlier, before all times that there are
local PRIORITY_MS = 1e13

local function due_in(order)
  return string.format('%.0f', tonumber(order) % PRIORITY_MS)
end

-- has the line looked at by then at the latest; returns how long one that joins it now waits for that look at most
local function join(limits, job, refused, look_ms)
  local line, known = limits.prefix .. 'line:' .. refused.name, limits.lined[refused.name]
  if look_ms or not known then
    local lines = limits.prefix .. 'lines:' .. job.type
    call_or_reset(lines, 'ZADD', look_ms and 'LT' or 'NX', look_ms or limits.now_ms, refused.name)
  end
  -- the more wait, the later, so that those that are due again by themselves stay few
  known = known or math.min(math.max(LEAST_WAIT_MS, STEP_MS * redis.call('ZCARD', line)), LONGEST_WAIT_MS)
  limits.lined[refused.name] = known
  return known
end

-- nobody is in it any more
local function forget_line(limits, lines, name)
  limits.lined[name] = nil
  redis.call('ZREM', lines, name)
end

local function wait_in_line(limits, job, refused, due)
  -- one whose worker was killed has its old turn, and its slot is free
  local started = string.match(redis.call('HGET', limits.running, job.id) or '', '^%d+ (%d+)')
  local order = string.format('%.0f', (started or due) - job.priority * PRIORITY_MS)
  local is_new = call_or_reset(limits.prefix .. 'line:' .. refused.name, 'ZADD', 'NX', order, job.id) == 1
  local longest_ms = join(limits, job, refused, refused.look_ms or started and limits.now_ms)
  local until_ms = math.ceil(limits.now_ms + longest_ms * (0.5 + (limits.looks * 0.618) % 1 / 2))
  until_ms = string.format('%.0f', math.min(until_ms, job.expires_ms or until_ms))
  redis.call('ZADD', limits.queue, 'XX', until_ms, job.id)
  local reason = refused.reason or refused.limit.reason
  local note = limits.notes[reason] or cjson.encode({code = refused.limit.code, reason = reason, at_ms = limits.now_ms})
  limits.notes[reason] = note
  redis.call('SET', 'errand:put-back:' .. job.id, note, 'PXAT', string.format('%.0f', until_ms + NOTE_KEPT_MS))
  limits.changes[#limits.changes + 1] = is_new and 'deferred ' .. job.id or nil
end

-- true if that due job waits in line from now on; else it may start, and `limits.job` is what counts it, if it has limits
local function is_held_back(limits, id, due)
  local job, later = limited_job(limits, id)
  if later then
    limits.looks = limits.looks - 1
    redis.call('ZADD', limits.queue, 'XX', string.format('%.0f', limits.now_ms + 1), id)
    return true
  end
  local refused = job and refusal(limits, job, false)
  limits.job = job
  -- one that somebody else runs, or that is to be cancelled, is for the claim itself
  if not refused or redis.call('EXISTS', 'arq:in-progress:' .. id) == 1 then
    return false
  elseif redis.call('HEXISTS', limits.cancels, id) == 1 then
    limits.job = nil
    return false
  end
  limits.looks = limits.looks - 1
  wait_in_line(limits, job, refused, due)
  return true
end

-- Why a job may not start now: a part of claim.lua. `limits` and `job` are as `limits.lua` has them.
--- @include "redis/parts/call_or_reset"
--- @include "leases/parts/limits"

-- of one in a line: whether it waits for its turn, as it may have been cancelled or rescheduled; then as `limited_job`
local function waiting_job(limits, id)
  if redis.call('EXISTS', 'errand:put-back:' .. id) == 1 and redis.call('ZSCORE', limits.queue, id) then
    return true, limited_job(limits, id)
  end
end

-- `taken`: so many run, but for those without a lease: their workers were killed
local function has_slot(limits, name, most, taken)
  local slots = limits.prefix .. 'slots:' .. name
  if taken < most then
    return true
  end
  for _, id in ipairs(redis.call('SMEMBERS', slots)) do
    if redis.call('EXISTS', 'arq:in-progress:' .. id) == 0 then
      redis.call('SREM', slots, id)
    end
  end
  return redis.call('SCARD', slots) < most
end

-- in how many ms one more may start: within `per_ms` there are never more than `most`
local function start_in_ms(limits, name, limit)
  local oldest = call_or_reset(limits.prefix .. 'starts:' .. name, 'LINDEX', limit.most - 1)
  return math.max((tonumber(oldest) or 0) + limit.per_ms - limits.now_ms, 0)
end

-- why a job may not start now, {limit, name, look_ms}; nil if it may. One that comes new stands behind those in line
local function refusal(limits, job, is_first_in_line)
  for number, limit in ipairs(job.limits) do
    local name, wait_ms = job.names[number], 0
    if not is_first_in_line and (limits.lined[name] or redis.call('EXISTS', limits.prefix .. 'line:' .. name) == 1) then
      return {limit = limit, name = name}
    elseif limit.per_ms then
      wait_ms = start_in_ms(limits, name, limit)
    else
      local taken = call_or_reset(limits.prefix .. 'slots:' .. name, 'SCARD')
      if not is_first_in_line and limit.turn and taken > 0 then
        -- those of other keys that are due come before a second one of this key
        return {limit = limit, name = name, look_ms = limits.now_ms, reason = limit.turn}
      end
      wait_ms = has_slot(limits, name, limit.most, taken) and 0 or limits.lease_ms
    end
    if wait_ms > 0 then
      return {limit = limit, name = name, look_ms = limits.now_ms + wait_ms}
    end
  end
end

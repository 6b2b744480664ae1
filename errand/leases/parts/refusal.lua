-- Why a job may not start now: a part of claim.lua. `limits` and `job` are as `limits.lua` has them.
--- @include "redis/parts/call_or_reset"
--- @include "leases/parts/limits"
--- @include "leases/parts/started"
local MOST_LATE = 100 -- lines whose looks one claim sets; the next one sets those of the others

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

-- lines that are to be looked at later than any limit of the type may have it, as the clock was set back: looks now
local function look_at_late_lines(limits, lines, of_type)
  local longest_ms = limits.lease_ms
  for _, limit in ipairs(of_type) do
    longest_ms = math.max(longest_ms, limit.per_ms or 0)
  end
  local last = call_or_reset(lines, 'ZREVRANGE', 0, 0, 'WITHSCORES')
  if last[2] and tonumber(last[2]) > limits.now_ms + longest_ms then
    local late = string.format('(%.0f', limits.now_ms + longest_ms)
    for _, name in ipairs(redis.call('ZREVRANGEBYSCORE', lines, '+inf', late, 'LIMIT', 0, MOST_LATE)) do
      redis.call('ZADD', lines, string.format('%.0f', limits.now_ms), name)
    end
  end
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

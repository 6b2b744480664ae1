-- What is written of a job that is put on conditions: a part of enqueue.lua, whose names it uses.
--- @include "redis/parts/now"
--- @include "redis/parts/with_end"
--- @include "redis/parts/lane"
--- @include "queue/parts/flow"

local function kept_job(condition, job)
  return condition.expires_in_ms and with_end(job, now_ms, condition.expires_in_ms) or job
end

-- the job was put: its keys are its own from now on
local function remember(condition, channel, id, due_ms)
  local mark, unique = condition.mark, condition.unique
  if condition.priority then
    put_in_lane(channel, id, condition.priority, due_ms)
  end
  if mark then
    -- as earlier versions wrote it: negative if it is due later
    local due = string.format('%.0f ', due_ms > now_ms and -due_ms or due_ms)
    redis.call('SET', KEYS[mark.at], due .. mark.record, 'PX', mark.keep_ms)
  end
  if unique then
    local keep_ms = string.format('%.0f', unique.for_ms or due_ms - now_ms + unique.limit_ms)
    redis.call('SET', KEYS[unique.at], (unique.for_ms and 'for ' or 'end ') .. id, 'PX', keep_ms)
  end
  begin_flow(condition.flow or {}, id, now_ms)
end

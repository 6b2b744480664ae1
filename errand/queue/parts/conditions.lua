-- The conditions on which a job is put: a part of enqueue.lua. An idempotency key's mark keeps the first answer under
-- it; a unique key's marker says whose it is, `end ID` until that job ends or `for ID` for a time.
--- @include "redis/parts/now"
--- @include "redis/parts/call_or_reset"
--- @include "queue/parts/flow"
--- @include "queue/parts/kept"
--- @include "queue/parts/move"

-- `json`: a list of conditions; returns them by their job's number
local function conditions_of(json)
  local conditions = {}
  for _, condition in ipairs(cjson.decode(json)) do
    conditions[condition.job] = condition
  end
  return conditions
end

local function first_answer(mark)
  local kept = call_or_reset(KEYS[mark.at], 'GET')
  if kept then
    -- a write, so that a WAIT behind this call speaks for the first one's jobs as well
    redis.call('SET', KEYS[mark.at], kept, 'KEEPTTL')
  end
  return kept
end

-- a marker counts as long as its job has not ended, or, if it is for a time, as long as its job is known
local function holder(unique)
  local kind, id = string.match(call_or_reset(KEYS[unique.at], 'GET') or '', '^(%a+) (.+)$')
  if id and redis.call('EXISTS', 'arq:job:' .. id) == 1 then
    if kind == 'end' and unique.limit_ms then
      redis.call('PEXPIRE', KEYS[unique.at], unique.limit_ms, 'GT')
    end
    return (redis.call('EXISTS', 'arq:in-progress:' .. id) == 1 and 'running ' or 'waiting ') .. id
  elseif kind == 'for' and id ~= unique.replaces and redis.call('EXISTS', 'arq:result:' .. id) == 1 then
    return 'ended ' .. id
  end
end

-- the tag and the detail of the answer to a job that is not put because of its condition; nothing if it may be put
-- `put`: as is_moved has it
local function kept_out(condition, put)
  local first = condition.mark and first_answer(condition.mark)
  if first then
    return 'answered', first
  end
  local unknown = condition.flow and unknown_need(condition.flow.needs)
  local held = condition.unique and holder(condition.unique)
  if held and condition.unique.moves then
    put.job = kept_job(condition, put.job)
    held = moved(held, put, condition.unique)
  end
  if unknown or held then
    return unknown and 'unknown' or 'held', unknown or held
  end
end

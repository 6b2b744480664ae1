-- The terms on which a job is put: a part of enqueue.lua, behind now.lua. An idempotency key's mark keeps the first
-- answer under it; a unique key's marker says whose it is, `end ID` until that job ends or `for ID` for a time.
--- @include "redis/parts/now"

-- `json`: a list of terms, or ''; returns them by their job's number
local function terms_of(json)
  local terms = {}
  if json ~= '' then
    for _, term in ipairs(cjson.decode(json)) do
      terms[term.job] = term
    end
  end
  return terms
end

local function first_answer(mark)
  local kept = redis.call('GET', KEYS[mark.at])
  if kept then
    -- a write, so that a WAIT behind this call speaks for the first one's jobs as well
    redis.call('SET', KEYS[mark.at], kept, 'KEEPTTL')
  end
  return kept
end

-- a marker counts as long as its job has not ended, or, where it is for a time, as long as its job is known
local function held(unique)
  local kind, id = string.match(redis.call('GET', KEYS[unique.at]) or '', '^(%a+) (.+)$')
  if id and redis.call('EXISTS', 'arq:job:' .. id) == 1 then
    if kind == 'end' and unique.limit_ms then
      redis.call('PEXPIRE', KEYS[unique.at], unique.limit_ms, 'GT')
    end
    return (redis.call('EXISTS', 'arq:in-progress:' .. id) == 1 and 'held running ' or 'held waiting ') .. id
  elseif kind == 'for' and id ~= unique.replaces and redis.call('EXISTS', 'arq:result:' .. id) == 1 then
    return 'held ended ' .. id
  end
end

-- what there is instead of the job that a term would keep out
local function instead_of(term)
  return term.mark and first_answer(term.mark) or term.unique and held(term.unique)
end

-- the job was put: its keys are its own from now on
local function remember(term, id, due_ms)
  local mark, unique = term.mark, term.unique
  if mark then
    local due = string.format('%.0f ', due_ms > now_ms and -due_ms or due_ms)
    redis.call('SET', KEYS[mark.at], due .. mark.record, 'PX', mark.keep_ms)
  end
  if unique then
    local keep_ms = string.format('%.0f', unique.for_ms or due_ms - now_ms + unique.limit_ms)
    redis.call('SET', KEYS[unique.at], (unique.for_ms and 'for ' or 'end ') .. id, 'PX', keep_ms)
  end
end

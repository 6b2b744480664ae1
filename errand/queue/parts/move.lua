-- A debounced job takes over what the next one of its key asks for, and waits anew: a part of enqueue.lua.
--- @include "redis/parts/now"

-- `held`: 'STATE ID' of the job that holds the key  `put`: {queue, job, due_ms, changes}  `unique`: the condition
-- 'moved ID' if that job waited for its first attempt, and is the new one now; nil if another is to be put
local function moved(held, put, unique)
  local id = string.match(held, '^waiting (.+)$')
  local is_new = id and tonumber(redis.call('GET', 'arq:retry:' .. id) or 0) == 0
  if not is_new or not redis.call('ZSCORE', put.queue, id) then
    return nil
  end
  -- a stock claim under way WATCHes the lease: touching it makes that claim give up
  redis.call('SET', 'arq:in-progress:' .. id, 'moved')
  redis.call('DEL', 'arq:in-progress:' .. id, 'errand:put-back:' .. id)
  redis.call('SET', 'arq:job:' .. id, put.job)
  redis.call('ZADD', put.queue, 'XX', string.format('%.0f', put.due_ms), id)
  -- the key is its own for as long as it waits
  redis.call('PEXPIRE', KEYS[unique.at], string.format('%.0f', put.due_ms - now_ms + unique.limit_ms), 'GT')
  put.changes[#put.changes + 1] = 'deferred ' .. id
  return 'moved ' .. id
end

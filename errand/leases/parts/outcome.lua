-- What becomes of a claimed job: it ends, or is due again. A part of finish.lua.
--- @include "redis/parts/call_or_reset"
-- the note why a job was put back says something until it is due; if it then expires unseen, the note must not stay
local PUT_BACK_KEPT_MS = 3600000

-- `keep_ms`: how long the result is kept, '' for ever, '0' not at all  `lease`: its key if the lease ends now, else nil
local function ended(queue, id, status, result, keep_ms, lease)
  if result ~= '' and keep_ms == '' then
    redis.call('SET', 'arq:result:' .. id, result)
  elseif result ~= '' and keep_ms ~= '0' then
    redis.call('SET', 'arq:result:' .. id, result, 'PX', keep_ms)
  end
  redis.call('ZREM', queue, id)
  -- deleted in one call: a call takes longer than a key
  local gone = {'arq:job:' .. id, 'arq:retry:' .. id, 'errand:attempts:' .. id, 'errand:progress:' .. id,
    'errand:put-back:' .. id, lease}
  -- a dead job may be replayed: the markers of its effects are kept as long as the job is
  if status ~= 'failed' or result == '' or keep_ms == '0' then
    gone[#gone + 1] = 'errand:once:' .. id
  elseif keep_ms ~= '' then
    redis.call('PEXPIRE', 'errand:once:' .. id, keep_ms)
  end
  redis.call('DEL', unpack(gone))
end

local function due_again(queue, id, due_ms, attempt, give_back)
  redis.call('ZADD', queue, 'XX', string.format('%.0f', due_ms), id)
  -- arq lets the counter expire after a day, and a retry may be due later than that
  redis.call('PERSIST', 'arq:retry:' .. id)
  local put_back = attempt:match('^put back (.*)$')
  if put_back then
    redis.call('SET', 'errand:put-back:' .. id, put_back, 'PXAT', string.format('%.0f', due_ms + PUT_BACK_KEPT_MS))
  elseif attempt ~= '' then
    call_or_reset('errand:attempts:' .. id, 'RPUSH', attempt)
    redis.call('DEL', 'errand:put-back:' .. id)
  end
  if give_back == '1' then
    call_or_reset('arq:retry:' .. id, 'DECR')
  end
end

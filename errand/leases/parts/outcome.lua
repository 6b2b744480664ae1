-- What becomes of a claimed job: it ends, or is due again. A part of finish.lua.
--- @include "redis/parts/call_or_reset"
-- the note why a job was put back says something until it is due; if it then expires unseen, the note must not stay
local PUT_BACK_KEPT_MS = 3600000

local left = {}

-- `due_in_ms` as it is then; one that was asked to end while it ran, and did not hear of it, is ended by the next claim
local function due_unless_cancelled(cancels, id, token, due_in_ms)
  local asked = redis.call('HGET', cancels, id)
  if asked then
    redis.call('HDEL', cancels, id)
  end
  if asked == token and due_in_ms ~= '' then
    redis.call('HSET', cancels, id, '*')
    return '0'
  end
  return due_in_ms
end

-- `keep_ms`: how long the result is kept, '' for ever, '0' not at all; `leave` must follow
local function ended(id, status, result, keep_ms, lease)
  if result ~= '' and keep_ms == '' then
    redis.call('SET', 'arq:result:' .. id, result)
  elseif result ~= '' and keep_ms ~= '0' then
    redis.call('SET', 'arq:result:' .. id, result, 'PX', keep_ms)
  end
  -- one that did not succeed may be replayed: the markers of its effects are kept as long as the job is
  local once, is_kept = 'errand:once:' .. id, status ~= 'succeeded' and result ~= '' and keep_ms ~= '0'
  if is_kept and keep_ms ~= '' then
    redis.call('PEXPIRE', once, keep_ms)
  end
  -- deleted in one call: a call takes longer than a key
  redis.call('DEL', 'arq:job:' .. id, 'arq:retry:' .. id, 'errand:attempts:' .. id, 'errand:progress:' .. id,
    'errand:put-back:' .. id, lease, is_kept and lease or once)
  left[#left + 1] = id
end

-- takes those that have ended out of the queue, and from those that run, in one call each: a tenth of the script's time
local function leave(queue, running)
  for first = 1, #left, 1000 do
    local last = math.min(first + 999, #left)
    redis.call('ZREM', queue, unpack(left, first, last))
    redis.call('HDEL', running, unpack(left, first, last))
  end
  left = {}
end

local function due_again(queue, running, id, due_ms, attempt, give_back, lease)
  redis.call('DEL', lease)
  redis.call('HDEL', running, id)
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

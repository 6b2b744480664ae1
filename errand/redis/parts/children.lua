-- The jobs that another has put, or that it waits for as its group: a part of the scripts that put jobs, and end them.
-- `errand:children:<id>`, sorted set: `<queue> <id>` of each, score = when it was put, in ms; kept as long as the parent.
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/wake_one"

local function add_child(parent, queue, id, now_ms)
  call_or_reset('errand:children:' .. parent, 'ZADD', string.format('%.0f', now_ms), queue .. ' ' .. id)
end

-- the parent has ended; `keep_ms`: how long its result is kept, '' for ever
local function keep_children(parent, keep_ms)
  if keep_ms ~= '' then
    redis.call('PEXPIRE', 'errand:children:' .. parent, keep_ms)
  end
end

-- one that waits is due now, and ended by the worker that claims it; of one that runs the owner is notified
local function cancel_child(queue, id, now_ms)
  local name, holder = 'errand:' .. queue, call_or_reset('arq:in-progress:' .. id, 'GET')
  if redis.call('EXISTS', 'arq:job:' .. id) == 0 or holder == '1' then
    return
  elseif holder and holder ~= 'kept' then
    call_or_reset(name .. ':cancels', 'HSET', id, holder)
    redis.call('PUBLISH', name .. ':cancel', id)
  else
    call_or_reset(name .. ':cancels', 'HSET', id, '*')
    call_or_reset(queue, 'ZADD', 'XX', string.format('%.0f', now_ms), id)
    wake_one(name .. ':wake')
  end
end

-- of a job that waited for its group, and was cancelled; a step that one of them has still to put is not put either
local function cancel_children(parent, now_ms)
  if redis.call('EXISTS', 'errand:needs:' .. parent) == 0 then
    return
  end
  call_or_reset('errand:needs:' .. parent, 'HSET', 'cancelled', 1)
  for _, entry in ipairs(call_or_reset('errand:children:' .. parent, 'ZRANGE', 0, -1)) do
    local queue, id = string.match(entry, '^(%S+) (.+)$')
    if queue then -- else another program has written it
      cancel_child(queue, id, now_ms)
    end
  end
end

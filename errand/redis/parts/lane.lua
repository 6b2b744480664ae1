-- The lanes of jobs with a priority above 0: a part of scripts that put such jobs. `lane:<priority>` has the ids by when
-- they are due, as the queue has them too; `lanes` the priorities that some jobs have.
--- @include "redis/parts/call_or_reset"

-- `channel`: the queue's channel of events, by whose name its other keys are known
local function put_in_lane(channel, id, priority, due_ms)
  local prefix = string.sub(channel, 1, -#'events' - 1)
  call_or_reset(prefix .. 'lanes', 'SADD', priority)
  call_or_reset(prefix .. 'lane:' .. priority, 'ZADD', string.format('%.0f', due_ms), id)
end

-- by the body, which says it behind Arq's fields
local function put_in_lane_of(channel, id, body, due_ms)
  local more = string.find(body, '"priority":', 1, true) and string.match(body, '^.*"et":%d+(.*)$')
  local priority = more and string.match(more, '"priority":([1-9])[,}]')
  if priority then
    put_in_lane(channel, id, priority, due_ms)
  end
end

-- of a body: what stands behind its args is mostly shorter, and a mebibyte takes Redis up to five milliseconds
local END_BYTES = 2048

-- of a job that is due at another time, as a claim might see only late
local function move_in_lane(channel, id, due_ms)
  if redis.call('EXISTS', string.sub(channel, 1, -#'events' - 1) .. 'lanes') == 1 then
    local body = redis.call('GETRANGE', 'arq:job:' .. id, -END_BYTES, -1)
    local is_enough = #body < END_BYTES or string.find(body, '"et":%d')
    put_in_lane_of(channel, id, is_enough and body or redis.call('GET', 'arq:job:' .. id) or '', due_ms)
  end
end

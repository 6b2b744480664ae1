-- Parks jobs of types that the worker which claimed them does not know, or of groups: a part of scripts that do so.
-- Each type and group has a sorted set of its parked jobs, id by when the job is due; an entry whose time has passed, or
-- is not the job's in the queue any more, means nothing.
--- @include "redis/parts/call_or_reset"

-- of a million parked jobs some hundreds a second are due again: those of a tenth of a second come together, so that a
-- worker claims them by ten calls and not by hundreds
local LONG_MS, TOGETHER_MS = 10000, 100

local function parked_until(due_ms, now_ms)
  return due_ms - now_ms < LONG_MS and due_ms or due_ms - due_ms % TOGETHER_MS
end

-- `channel`: the queue's channel of events, by whose name its other keys are known  `type`: a group's begins with @
local function park(channel, type, id, due_ms, now_ms)
  local own = string.sub(channel, 1, -#'events' - 1)
  local parked = own .. 'parked:' .. type
  if string.sub(type, 1, 1) == '@' then
    call_or_reset(own .. 'groups', 'SADD', type)
  end
  call_or_reset(parked, 'ZADD', string.format('%.0f', due_ms), id)
  -- each that comes takes two along whose time has passed
  local past = redis.call('ZRANGEBYSCORE', parked, '-inf', string.format('%.0f', now_ms), 'LIMIT', 0, 2)
  if #past > 0 then
    redis.call('ZREM', parked, unpack(past))
  end
  local left_ms = math.ceil(due_ms - now_ms) + 1000
  if redis.call('PTTL', parked) < left_ms then
    redis.call('PEXPIRE', parked, string.format('%.0f', left_ms))
  end
end

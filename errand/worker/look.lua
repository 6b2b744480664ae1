-- Looks whether workers have something to do, for all queues of one process in one call.
-- KEYS  of each queue: the queue, paused, then of each type that its worker knows: its parked jobs
-- ARGV  how many types that are
-- returns of each queue: in how many ms its first job is due, 0 if one is or if jobs are parked; -1 if there is none
--- @include "redis/parts/now"
local width = 2 + tonumber(ARGV[1])
local answers = {}

local function due_in_ms(at)
  if redis.call('EXISTS', KEYS[at + 1]) == 1 then
    return -1
  elseif width > 2 and redis.call('EXISTS', unpack(KEYS, at + 2, at + width - 1)) > 0 then
    return 0
  end
  local head = redis.call('ZRANGE', KEYS[at], 0, 0, 'WITHSCORES')
  return head[2] and math.ceil(math.max(tonumber(head[2]) - now_ms, 0)) or -1
end

for at = 1, #KEYS, width do
  answers[#answers + 1] = due_in_ms(at)
end
return answers

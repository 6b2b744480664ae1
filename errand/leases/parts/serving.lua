-- Lets jobs out of the lines in which limits hold them back: a part of claim.lua. Each line has its turn, one job at a
-- time, so that a hundred thousand jobs of one key do not delay one of another key.
--- @include "redis/parts/call_or_reset"
--- @include "leases/parts/limits"
--- @include "leases/parts/refusal"
--- @include "leases/parts/lines"
--- @include "leases/parts/started"
-- so many looks at jobs with limits, by one call: Redis answers nobody else meanwhile; and at those that came last
local MOST_LOOKS, LAST_LOOKS = 900, 100

-- true if the first in line that may start has been claimed, by `claim(id, due, job)`
local function serve_line(limits, lines, name, claim)
  local line = limits.prefix .. 'line:' .. name
  while limits.looks > 0 do
    limits.looks = limits.looks - 1
    local id, order = unpack(call_or_reset(line, 'ZRANGE', 0, 0, 'WITHSCORES'))
    if not id then
      return forget_line(limits, lines, name)
    end
    local waits, job, later = waiting_job(limits, id)
    local refused = job and refusal(limits, job, true)
    if later or refused and refused.name == name then
      redis.call('ZADD', lines, string.format('%.0f', later and limits.now_ms or refused.look_ms), name)
      return false
    end
    redis.call('ZREM', line, id)
    if refused then
      wait_in_line(limits, job, refused, due_in(order))
    elseif waits and claim(id, due_in(order), job) then
      limits.turns = limits.turns + 1
      redis.call('ZADD', lines, string.format('%.3f', limits.now_ms + limits.turns / 1000), name)
      return true
    end
  end
end

local function serve_lines(limits, most, claim)
  local served, before = 0, -1
  while served < most and served > before do
    before = served
    for number = 1, #limits.types do
      -- the types take turns to be the first
      local lines = limits.prefix .. 'lines:' .. limits.types[(number + limits.now_ms) % #limits.types + 1]
      local names = call_or_reset(lines, 'ZRANGEBYSCORE', '-inf', limits.now_ms + 1, 'LIMIT', 0, most - served)
      for _, name in ipairs(names) do
        served = served + (serve_line(limits, lines, name, claim) and 1 or 0)
      end
    end
  end
end

-- when the first of the lines is to be looked at, or another time if that is sooner
local function next_look_ms(limits, next_ms)
  for _, type_name in ipairs(limits.types) do
    local first = redis.call('ZRANGE', limits.prefix .. 'lines:' .. type_name, 0, 0, 'WITHSCORES')
    next_ms = first[2] and math.min(next_ms or math.huge, tonumber(first[2])) or next_ms
  end
  return next_ms
end

-- `json`: {type: [limit…]}: limit: {name, most, code, reason}, per_ms if it is one of starts in that time, key if
-- jobs of one key count together, a list of parts as text_of has them; turn: why one waits though its limit has room
-- `known`: {queue, running, cancels, changes, lease_ms, now_ms}; returned with all that a claim uses
local function limits_in(json, channel, known)
  known.of, known.types, known.lined, known.notes = cjson.decode(json), {}, {}, {}
  known.turns, known.bytes_read, known.looks, known.last_looks = 0, 0, MOST_LOOKS, LAST_LOOKS
  known.prefix = string.sub(channel, 1, -#'events' - 1)
  for type_name, of_type in pairs(known.of) do
    known.types[#known.types + 1] = type_name
    look_at_late_lines(known, known.prefix .. 'lines:' .. type_name, of_type)
  end
  known.serve, known.next_ms, known.hold_back, known.count = serve_lines, next_look_ms, is_held_back, count_start
  free_slots_of_ended(known.prefix, known.now_ms)
  return known
end

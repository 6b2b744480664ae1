#!lua flags=allow-oom
-- Notes the ends of jobs that others wait for, if the worker that ended them has not: a stock one reports none, nor does
-- one of an earlier version.
-- KEYS  1 needed
-- ARGV  1 where the last look stopped, '0' at first  2 about how many jobs to look at
-- returns {where this look stopped, '0' if all have been looked at, ids of the jobs whose ends were noted}
--- @include "redis/parts/now"
--- @include "redis/parts/held"
--- @include "redis/parts/call_or_reset"
local needed = KEYS[1]
local stopped, ids = unpack(call_or_reset(needed, 'SSCAN', ARGV[1], 'COUNT', ARGV[2]))

-- of those that wait for a job that is not there: one that was put when that was there knows of it
local MOST_ASKED = 10

-- whether a job that is not there, and has no result, is still to come: the next step of a chain. Else it is not known how
-- it has ended, as its result is not kept for long
local function is_to_come(id)
  local waiting = call_or_reset('errand:needed-by:' .. id, 'SRANDMEMBER', MOST_ASKED)
  for _, other in ipairs(waiting) do
    if call_or_reset('errand:needs:' .. other, 'HGET', 'to_come') == '0' then
      return false
    end
  end
  return #waiting > 0
end

local noted = {}
for _, id in ipairs(ids) do
  local known, is_there = end_of(id, true)
  if known then
    local record, kept_ms = redis.call('GET', 'arq:result:' .. id), redis.call('PTTL', 'arq:result:' .. id)
    note_end(needed, id, known.status, record, kept_ms > 0 and kept_ms or '', now_ms)
    noted[#noted + 1] = id
  elseif not is_there and not is_to_come(id) then
    note_end(needed, id, 'unknown', '', 1, now_ms)
    noted[#noted + 1] = id
  end
end
return {stopped, noted}

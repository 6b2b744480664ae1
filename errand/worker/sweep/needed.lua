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

local noted = {}
for _, id in ipairs(ids) do
  -- one that is not there and has no result is still to come: the next step of a chain
  local known = end_of(id, true)
  if known then
    local record, kept_ms = redis.call('GET', 'arq:result:' .. id), redis.call('PTTL', 'arq:result:' .. id)
    note_end(needed, id, known.status, record, kept_ms > 0 and kept_ms or '', now_ms)
    noted[#noted + 1] = id
  end
end
return {stopped, noted}

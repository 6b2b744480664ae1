#!lua flags=allow-oom
-- Says anew why jobs of a group wait, for some of them.
-- KEYS  1 queue  2 the group's parked jobs
-- ARGV  1 how many entries to pass over  2 how many to look at  3 why, as a job that is put back has it
-- returns how many entries it has looked at
--- @include "redis/parts/call_or_reset"
local queue, parked, note, first = KEYS[1], KEYS[2], ARGV[3], tonumber(ARGV[1])

local entries = call_or_reset(parked, 'ZRANGE', first, first + tonumber(ARGV[2]) - 1, 'WITHSCORES')
for at = 1, #entries, 2 do
  local id, score = entries[at], redis.call('ZSCORE', queue, entries[at])
  -- an entry counts only if nobody has moved the job since; one without a note has started meanwhile
  if score and tonumber(score) == tonumber(entries[at + 1]) then
    redis.call('SET', 'errand:put-back:' .. id, note, 'XX', 'KEEPTTL')
  end
end
return #entries / 2

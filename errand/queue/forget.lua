#!lua flags=allow-oom
-- Forgets an ended job.
-- KEYS  1 dead  2 dead, by group  3 result  4 what `ctx.once` has marked
--       5 names of the indexes of ended jobs  6… what it has had to do with others
-- ARGV  1 its entry among the dead, or ''  2 the name of its index  3 job id  4 the SHA-1 that its result must have, or ''
-- returns 1 if it was forgotten, 0 if there is no ended job of that id, or another
--- @include "redis/parts/dead_index"
--- @include "redis/parts/ended_index"
local dead, dead_by_group, result, once, entry = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]

if ARGV[4] ~= '' and redis.sha1hex(redis.call('GET', result) or '') ~= ARGV[4] then
  return 0
elseif redis.call('DEL', result) == 0 then
  return 0
end
-- a later job of that id is another job, whose effects have not been
redis.call('DEL', once, unpack(KEYS, 6))
unlist_ended(KEYS[5], ARGV[2], ARGV[3])
remove_dead(dead, dead_by_group, entry)
return 1

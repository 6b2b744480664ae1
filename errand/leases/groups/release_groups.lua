#!lua flags=allow-oom
-- Makes jobs of groups due now, ahead of all others: what they wait for has room for some. Wakes a worker for them.
-- KEYS  1 queue  2 paused  3 wake  4 names of the groups  5… of each group: its parked jobs
-- ARGV  1 channel of events  2 how many entries of a group to look at, at most  3… of each group: name, how many jobs at
--       most
-- returns of each group how many were made due, and how many are left
--- @include "leases/parts/release_parked"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
local queue, wake, names, channel, looks = KEYS[1], KEYS[3], KEYS[4], ARGV[1], tonumber(ARGV[2])
local paused, answers, changes = redis.call('EXISTS', KEYS[2]) == 1, {}, {}

for index = 5, #KEYS do
  local parked, name, most = KEYS[index], ARGV[index * 2 - 7], tonumber(ARGV[index * 2 - 6])
  local before = #changes
  if not paused then
    release_parked(queue, parked, most, looks, changes)
  end
  local left = call_or_reset(parked, 'ZCARD')
  if left == 0 then
    call_or_reset(names, 'SREM', name)
  end
  answers[#answers + 1] = #changes - before
  answers[#answers + 1] = left
end
if #changes > 0 then
  wake_one(wake)
  publish_changes(channel, changes)
end
return answers

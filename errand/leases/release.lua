#!lua flags=allow-oom
-- Makes parked jobs due now, ahead of all others, for the worker that calls: it knows their types and claims them next.
-- KEYS  1 queue  2 paused  3… of each type: its parked jobs
-- ARGV  1 how many jobs at most  2 channel of events  3 how many entries to look at, at most
-- returns {how many were made due, 1 if there may be more}
--- @include "leases/parts/release_parked"
--- @include "redis/parts/publish_changes"
local queue, most, channel, looks = KEYS[1], tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local changes = {}

if redis.call('EXISTS', KEYS[2]) == 1 then
  return {0, 0}
end
for index = 3, #KEYS do
  looks = release_parked(queue, KEYS[index], most - #changes, looks, changes)
end
if #changes > 0 then
  publish_changes(channel, changes)
end
return {#changes, (#changes >= most or looks <= 0) and 1 or 0}

#!lua flags=allow-oom
-- Claims due jobs for a worker: takes their leases, counts the tries, fetches the bodies.
-- KEYS  1 queue  2 running  3 wake  4 paused  5 cancels  6 isolated  7 workers  8 mark of a clock that was set
-- ARGV  1 token of this claim  2 lease in ms  3 how many jobs at most  4 channel of events  5 the worker if the claim was
--       sent ahead, behind a wait: it does not take its own jobs then; else ''  6 the worker  7 its last report was so many
--       ms ago, or ''  8 how many ms this call may have been under way  9 limits of the types that it knows (serving.lua)
-- returns {in how many ms the next job is due or -1, jobs, now in ms, workers that live, if more jobs are due}; each job is
--       {id, due, tries, body, attempts, 1 if the attempt before was lost, 1 if somebody has asked to cancel it}
--- @include "redis/parts/moving"
--- @include "redis/parts/now"
--- @include "redis/parts/which_exist"
--- @include "leases/parts/clock_set"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "leases/parts/serving" as of_limits
--- @include "leases/parts/lanes" as of_lanes
local queue, running, wake, paused, cancels, isolated = unpack(KEYS, 1, 6)
local token, lease_ms, most, channel, ahead = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local now, lease_end = string.format('%.0f', now_ms), string.format('%.0f', now_ms + lease_ms)
local lanes = string.sub(channel, 1, -#'events' - 1) .. 'lanes'

local there = which_exist(paused, cancels, lanes, KEYS[8], 'errand:move')
if there[paused] or there['errand:move'] and refuse_if_moving() then
  return {-1, {}, '0', 0}
end
local any_cancels = there[cancels] or false
local unsure = clock_was_set(there[KEYS[8]], KEYS[8], KEYS[7], ARGV[6], ARGV[7], tonumber(ARGV[8]), now_ms, lease_ms)
-- also so that a key of a wrong type is met before anything is written
local any_run = redis.call('HLEN', running) > 0

local jobs, changes, skipped = {}, {}, 0
local known = {queue = queue, running = running, cancels = cancels, changes = changes, lease_ms = lease_ms, now_ms = now_ms}
local limits = ARGV[9] ~= '' and of_limits().limits_in(ARGV[9], channel, known)
--- @include "leases/parts/start"

if limits then
  limits.serve(limits, math.ceil(most / 2), start)
end
if there[lanes] then
  local serving = of_lanes()
  local by_priority = serving.most_by_priority(most, tonumber(string.match(token, '%d+$')) or 0)
  serving.serve_lanes(lanes, queue, now_ms, lease_end, function() return by_priority - #jobs end, consider)
end
while #jobs < most and (not limits or limits.looks > 0) do
  note_claimed()
  local asked = most - #jobs
  local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', skipped, asked)
  skipped = skipped + consider_all(due)
  if #due < 2 * asked then
    break
  end
end

note_claimed()
if limits and limits.looks <= 0 then
  -- behind very many that limits hold back may be one that they let start: those that came last are looked at, too
  consider_all(redis.call('ZREVRANGEBYSCORE', queue, now, '-inf', 'WITHSCORES', 'LIMIT', 0, limits.last_looks))
  note_claimed()
end
local next_ms = tonumber(redis.call('ZRANGE', queue, skipped, skipped, 'WITHSCORES')[2])
if limits then
  limits.serve(limits, most - #jobs, start)
  note_claimed()
  next_ms = limits.next_ms(limits, next_ms)
end
-- a claim that got all it asked for while more is due wakes the next idle worker
local live = 0
if #jobs == most and next_ms and next_ms <= now_ms then
  wake_one(wake)
  live = call_or_reset(KEYS[7], 'ZCOUNT', now_ms - lease_ms, '+inf')
end
if #changes > 0 then
  publish_changes(channel, changes)
end
return {next_ms and math.max(next_ms - now_ms, 0) or -1, jobs, now, live}

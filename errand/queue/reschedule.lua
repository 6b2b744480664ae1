#!lua flags=allow-oom
-- Makes a job that waits, for its first attempt or for another, due at another time.
-- KEYS  1 queue  2 wake  3 body  4 result  5 lease  6 try counter  7 running  8 attempts  9 progress
--       10 the marker of its unique key, if it has one
-- ARGV  1 job id  2 channel of events  3 delay in ms  4 run-at in ms since the epoch or ''
--       5 how long the marker is kept after the job is due, in ms  6 the revision that it must have, or ''
-- returns 'rescheduled', or what the job is instead: 'in_progress', 'ended', 'unknown', 'changed' (it has another
--         revision), 'held' (it waits for other jobs)
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "redis/parts/lane"
--- @include "redis/parts/held_ms"
local queue, wake, body, result, lease, marker = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[10]
local names = {queue = queue, running = KEYS[7], lease = lease, tries = KEYS[6], attempts = KEYS[8], progress = KEYS[9]}
local id, channel, delay_ms, run_at_ms, limit_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

--- @include "queue/parts/revision"

if redis.call('EXISTS', result) == 1 then
  return 'ended'
elseif redis.call('EXISTS', lease) == 1 then
  return 'in_progress'
elseif redis.call('EXISTS', body) == 0 or not redis.call('ZSCORE', queue, id) then
  return 'unknown'
elseif tonumber(redis.call('ZSCORE', queue, id)) == HELD_MS then
  return 'held'
elseif not as_seen(ARGV[6], id, names) then
  return 'changed'
end

--- @include "redis/parts/now"
local due_ms = math.max(now_ms, run_at_ms or now_ms + delay_ms)
local later = due_ms > now_ms
local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')

-- a stock claim under way WATCHes the lease: touching it makes that claim give up, and look when the job is due
redis.call('SET', lease, 'moved')
redis.call('DEL', lease, 'errand:put-back:' .. id)
redis.call('ZADD', queue, 'XX', string.format('%.0f', due_ms), id)
move_in_lane(channel, id, due_ms)

-- a stock producer's body may expire: not before the new time, and then as long after it as it was to
local left_ms = redis.call('PTTL', body)
if left_ms >= 0 and later then
  redis.call('PEXPIRE', body, string.format('%.0f', left_ms + due_ms - now_ms))
end
-- the key is its own for as long as it waits
if marker and redis.call('GET', marker) == 'end ' .. id then
  redis.call('PEXPIRE', marker, string.format('%.0f', due_ms - now_ms + tonumber(limit_ms)), 'GT')
end

-- for what is due now, or sooner than anybody knows
if not later or due_ms < tonumber(head[2]) then
  wake_one(wake)
end
publish_changes(channel, {(later and 'deferred ' or 'queued ') .. id})
return 'rescheduled'

#!lua flags=allow-oom
-- One heartbeat of a worker: notes that it lives, stores its report, renews its leases, adds to the counters.
-- KEYS  1 queue  2 workers  3 counters  4 running  5 cancels  6 reports  7 the last minutes  8 mark of a clock
--       that was set  9… of each job: lease, try counter
-- ARGV  1 worker  2 lease in ms  3 when to forget a silent worker, in ms  4 number of jobs
--       5 the worker's report, or ''  6 its last one was so many ms ago, or ''  7 how many ms this call may have been
--       under way  8… of each job: id, token; then of each counter: name, increment
-- returns {ids of jobs whose lease was lost, ids of those that somebody has asked to cancel, how many of the keys are there
--       that a sweep looks through (errand/worker/sweep)}
--- @include "redis/parts/now"
--- @include "redis/parts/still_owned"
--- @include "leases/parts/lived_on"
--- @include "leases/parts/clock_set"
--- @include "leases/parts/started" as of_limits
local MINUTES_KEPT = 15
local queue, workers, counters, running, cancels, reports, minutes = unpack(KEYS, 1, 7)
local worker, lease_ms, forget_ms, jobs = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local report, prefix = ARGV[5], string.sub(counters, 1, -#'counters' - 1)

clock_was_set(redis.call('EXISTS', KEYS[8]) == 1, KEYS[8], workers, worker, ARGV[6], tonumber(ARGV[7]), now_ms, lease_ms)
if worker ~= '' then
  redis.call('ZADD', workers, string.format('%.0f', now_ms), worker)
  if report ~= '' then
    redis.call('HSET', reports, worker, report)
  end
  local silent = redis.call('ZRANGEBYSCORE', workers, '-inf', string.format('(%.0f', now_ms - forget_ms), 'LIMIT', 0, 100)
  if #silent > 0 then
    redis.call('ZREM', workers, unpack(silent))
    redis.call('HDEL', reports, unpack(silent))
  end
end

local lost, to_cancel = {}, {}
local any_cancels = redis.call('EXISTS', cancels) == 1
local lease_end = string.format('%.0f', now_ms + lease_ms)
for number = 1, jobs do
  local lease, tries = KEYS[number * 2 + 7], KEYS[number * 2 + 8]
  local id, token = ARGV[number * 2 + 6], ARGV[number * 2 + 7]
  local is_owned, had_lapsed = still_owned(running, lease, tries, id, token)
  if is_owned then
    redis.call('SET', lease, token, 'PX', lease_ms)
    if had_lapsed then
      of_limits().hold_slots_again(prefix, id)
    end
    redis.call('ZADD', queue, 'XX', lease_end, id)
    if any_cancels and redis.call('HGET', cancels, id) == token then
      to_cancel[#to_cancel + 1] = id
    end
  else
    lost[#lost + 1] = id
    note_lived_on(id, token)
  end
end
local minute, ended_some = math.floor(now_ms / 60000), false
for index = 8 + jobs * 2, #ARGV, 2 do
  redis.call('HINCRBY', counters, ARGV[index], ARGV[index + 1])
  local outcome = string.match(ARGV[index], '^attempts:(.*)$')
  if outcome then
    redis.call('HINCRBY', minutes, string.format('%.0f %s', minute, outcome), ARGV[index + 1])
    ended_some = true
  end
end
if ended_some then
  redis.call('PEXPIRE', minutes, MINUTES_KEPT * 60000)
  -- a few that are too old may stay: who reads them leaves them out
  for _, field in ipairs(redis.call('HLEN', minutes) > MINUTES_KEPT and redis.call('HKEYS', minutes) or {}) do
    if tonumber(string.match(field, '^%d+')) <= minute - MINUTES_KEPT then
      redis.call('HDEL', minutes, field)
    end
  end
end
return {lost, to_cancel, redis.call('EXISTS', prefix .. 'needed', prefix .. 'dead-hooks')}

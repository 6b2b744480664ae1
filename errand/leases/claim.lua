#!lua flags=allow-oom
-- Claims due jobs for a worker: takes their leases, counts the tries, fetches the bodies.
-- KEYS  1 queue  2 running  3 wake  4 paused  5 cancels  6 isolated  7 workers  8 mark of a clock that was set
-- ARGV  1 token of this claim  2 lease in ms  3 how many jobs at most  4 channel of events
--       5 the worker if the claim was sent ahead, behind a wait: it does not take its own jobs then; else ''
--       6 the worker  7 its last report was so many ms ago, or ''  8 how many ms this call may have been under way
-- returns {in how many ms the next job is due or -1, jobs, now in ms}; each job is
--       {id, due, tries, body, attempts, 1 if the attempt before was lost, 1 if somebody has asked to cancel it}
--- @include "redis/parts/call_or_reset"
--- @include "leases/parts/lost_attempt"
--- @include "leases/parts/clock_set"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
local queue, running, wake, paused, cancels, isolated = unpack(KEYS, 1, 6)
local token, lease_ms, most, channel, ahead = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]

if redis.call('EXISTS', paused) == 1 then
  return {-1, {}, '0'}
end
--- @include "redis/parts/now"
local now, lease_end = string.format('%.0f', now_ms), string.format('%.0f', now_ms + lease_ms)
local any_cancels = redis.call('EXISTS', cancels) == 1
local unsure = clock_was_set(KEYS[8], KEYS[7], ARGV[6], ARGV[7], tonumber(ARGV[8]), now_ms, lease_ms)

local function claimed(id, due)
  local tries = call_or_reset('arq:retry:' .. id, 'INCR')
  -- out of the way of the next claim, and due again by itself if the lease is not renewed
  redis.call('ZADD', queue, lease_end, id)
  local started = tries > 1 and redis.call('HGET', running, id)
  local lost = started and record_lost(id, started, now_ms, isolated)
  local cancel = any_cancels and is_to_cancel(cancels, id, started) and 1
  if cancel then
    -- kept: this worker may end before it has cancelled the job
    redis.call('HSET', cancels, id, token)
  end
  redis.call('HSET', running, id, tries .. ' ' .. due .. ' ' .. now .. ' ' .. token)
  local attempts = call_or_reset('errand:attempts:' .. id, 'LRANGE', 0, -1)
  -- the body of a stock producer may expire before the job is started; once started, a lost lease must not lose the job
  local body = call_or_reset('arq:job:' .. id, 'GETEX', 'PERSIST')
  return {id, due, tries, body, attempts, lost, cancel}
end

local jobs, changes, skipped = {}, {}, 0
while #jobs < most do
  local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', skipped, most - #jobs)
  if #due == 0 then
    break
  end
  for index = 1, #due, 2 do
    local id, lease = due[index], 'arq:in-progress:' .. due[index]
    if may_run_still(running, id, ahead) then
      skipped = skipped + 1
    elseif unsure and redis.call('HEXISTS', running, id) == 1 then
      redis.call('ZADD', queue, lease_end, id)
    elseif redis.call('SET', lease, token, 'NX', 'PX', lease_ms) then
      jobs[#jobs + 1] = claimed(id, due[index + 1])
      changes[#changes + 1] = 'in_progress ' .. id
    elseif call_or_reset(lease, 'GET') == '1' then
      -- a stock worker's: it adds the wait for a retry to the score that it has read, so the score stays
      skipped = skipped + 1
    else
      redis.call('ZADD', queue, now_ms + math.max(redis.call('PTTL', lease), 1), id)
    end
  end
end

local next = redis.call('ZRANGE', queue, skipped, skipped, 'WITHSCORES')
-- a claim that got all it asked for while more is due wakes the next idle worker
if #jobs == most and next[2] and tonumber(next[2]) <= now_ms then
  wake_one(wake)
end
if #changes > 0 then
  publish_changes(channel, changes)
end
return {next[2] and math.max(tonumber(next[2]) - now_ms, 0) or -1, jobs, now}

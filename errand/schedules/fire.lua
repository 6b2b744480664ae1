-- A schedule's time has come: puts its job, or none, and sets its next time. Once, however many workers ask.
-- KEYS  1 index  2 schedule  3 queue  4 wake  5 body  6 result
-- ARGV  1 id  2 its time in ms  3 revision  4 its next time in ms, or +inf  5 now in ms, as the look at the times said
--       6 1 if the time was missed, else 0  7 why it becomes no job although it should, '' nothing
--       8 job id, '' for no job  9 serialised job  10 when the job is due, in ms  11 channel of events
--       12 how many unfinished jobs the queue may hold; 0 without a limit
-- returns 1 if this call did it, 2 if it put no job because the queue is full; 0 if another had, or the schedule has been
--       changed or paused
--- @include "redis/parts/moving"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "redis/parts/lane"
local index, schedule, queue, wake, body, result = unpack(KEYS)
local id, time_ms, revision, next_ms, now_ms, missed, problem = unpack(ARGV, 1, 7)
local job_id, job, due_ms, channel = unpack(ARGV, 8, 11)

local is_its_time = tonumber(redis.call('ZSCORE', index, id)) == tonumber(time_ms)
if not is_its_time or redis.call('HGET', schedule, 'revision') ~= revision then
  return 0
end

local limit = tonumber(ARGV[12])
local is_full = job_id ~= '' and limit > 0 and redis.call('ZCARD', queue) >= limit
if is_full then
  job_id, problem = '', 'its queue is full'
end

-- as enqueue.lua puts one; before anything is written of the schedule: if this fails, its time is still to come
if job_id ~= '' and not is_known(body, result) then
  local at_ms = math.max(tonumber(now_ms), tonumber(due_ms))
  local later = at_ms > tonumber(now_ms)
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  local first = not head[2] or at_ms < tonumber(head[2])
  redis.call('ZADD', queue, string.format('%.0f', at_ms), job_id)
  redis.call('SET', body, job)
  put_in_lane_of(channel, job_id, job, at_ms)
  if first or not later then
    wake_one(wake)
  end
  publish_changes(channel, {(later and 'deferred ' or 'queued ') .. job_id})
end

redis.call('ZADD', index, next_ms, id)
if missed == '1' then
  redis.call('HSET', schedule, 'missed_ms', time_ms)
end
if problem ~= '' then
  redis.call('HSET', schedule, 'problem', problem)
elseif job_id ~= '' then
  redis.call('HSET', schedule, 'fire', time_ms .. ' ' .. now_ms .. ' ' .. job_id)
  redis.call('HDEL', schedule, 'problem')
end
return is_full and 2 or 1

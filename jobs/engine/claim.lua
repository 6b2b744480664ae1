-- Claims due jobs for a worker: takes their leases, counts the try, fetches the bodies.
-- KEYS  1 queue  2 running  3 wake  4 paused
-- ARGV  1 token of this claim  2 worker  3 lease in ms  4 how many at most  5 channel of events
-- returns {when the next job is due in ms or -1, jobs}; of each job {id, due, try, body, earlier attempts, lost attempt}
local queue, running, wake, paused = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, worker, lease_ms, most, channel = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

if redis.call('EXISTS', paused) == 1 then
  return {-1, {}}
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now, lease_end = string.format('%.0f', now_ms), string.format('%.0f', now_ms + lease_ms)

local function claimed(id, due)
  local try = redis.call('INCR', 'arq:retry:' .. id)
  -- out of the way of the next claim, and due again by itself when the lease is not renewed
  redis.call('ZADD', queue, lease_end, id)
  local lost = try > 1 and redis.call('HGET', running, id)
  redis.call('HSET', running, id, try .. ' ' .. due .. ' ' .. now .. ' ' .. worker)
  local attempts = redis.call('LRANGE', 'errand:attempts:' .. id, 0, -1)
  return {id, due, try, redis.call('GET', 'arq:job:' .. id), attempts, lost}
end

local jobs, changes, skipped = {}, {}, 0
while #jobs < most do
  local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', skipped, most - #jobs)
  if #due == 0 then
    break
  end
  for index = 1, #due, 2 do
    local id, lease = due[index], 'arq:in-progress:' .. due[index]
    if redis.call('SET', lease, token, 'NX', 'PX', lease_ms) then
      jobs[#jobs + 1] = claimed(id, due[index + 1])
      changes[#changes + 1] = 'in_progress ' .. id
    elseif redis.call('GET', lease) == '1' then
      -- a stock worker's: its retries add to the score it has read, so the score is left alone
      skipped = skipped + 1
    else
      redis.call('ZADD', queue, now_ms + math.max(redis.call('PTTL', lease), 1), id)
    end
  end
end

local next = redis.call('ZRANGE', queue, skipped, skipped, 'WITHSCORES')
-- who took all it could while more is due wakes the next idle worker
if #jobs == most and next[2] and tonumber(next[2]) <= now_ms and redis.call('LLEN', wake) == 0 then
  redis.call('LPUSH', wake, 1)
end
if #changes > 0 then
  redis.call('PUBLISH', channel, table.concat(changes, '\n'))
end
return {tonumber(next[2] or -1), jobs}

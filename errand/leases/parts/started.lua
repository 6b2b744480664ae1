-- Counts a job under the limits of its type from its start to its end: a part of the scripts of leases.
--- @include "redis/parts/call_or_reset"
-- `held-slots` has for each job that runs the names under which it counts; `prefix` begins the names of a queue's keys.

-- the clock was set back: what started later than now counts as started now, and holds up others no longer than it may
local function set_starts_back(starts, per_ms, now_ms)
  local times = redis.call('LRANGE', starts, 0, -1)
  redis.call('DEL', starts)
  for _, started in ipairs(times) do
    redis.call('RPUSH', starts, string.format('%.0f', math.min(tonumber(started) or 0, now_ms)))
  end
  redis.call('PEXPIRE', starts, per_ms)
end

-- in how many ms one more may start: within `per_ms` there are never more than `most`
local function start_in_ms(limits, name, limit)
  local starts = limits.prefix .. 'starts:' .. name
  local oldest = tonumber(call_or_reset(starts, 'LINDEX', limit.most - 1)) or 0
  if oldest > limits.now_ms then
    set_starts_back(starts, limit.per_ms, limits.now_ms)
    return limit.per_ms
  end
  return math.max(oldest + limit.per_ms - limits.now_ms, 0)
end

-- limits, job: as limits.lua has them
local function count_start(limits, job)
  local held = {}
  for number, limit in ipairs(job.limits) do
    local name = job.names[number]
    if limit.per_ms then
      local starts = limits.prefix .. 'starts:' .. name
      redis.call('LPUSH', starts, string.format('%.0f', limits.now_ms))
      redis.call('LTRIM', starts, 0, limit.most - 1)
      redis.call('PEXPIRE', starts, limit.per_ms)
    else
      redis.call('SADD', limits.prefix .. 'slots:' .. name, job.id)
      held[#held + 1] = name
    end
  end
  if #held > 0 then
    redis.call('HSET', limits.prefix .. 'held-slots', job.id, table.concat(held, ' '))
  end
end

-- the job's lease had lapsed and is its owner's again: others may have started meanwhile, but no more do beside it
local function hold_slots_again(prefix, id)
  for name in string.gmatch(redis.call('HGET', prefix .. 'held-slots', id) or '', '%S+') do
    call_or_reset(prefix .. 'slots:' .. name, 'SADD', id)
  end
end

-- the job runs no more; true if another waits for what it held: the next claim looks at that line
local function free_slots(prefix, id, now_ms)
  local held, is_awaited = redis.call('HGET', prefix .. 'held-slots', id), false
  if held then
    redis.call('HDEL', prefix .. 'held-slots', id)
  end
  for name in string.gmatch(held or '', '%S+') do
    redis.call('SREM', prefix .. 'slots:' .. name, id)
    if redis.call('EXISTS', prefix .. 'line:' .. name) == 1 then
      redis.call('ZADD', prefix .. 'lines:' .. string.match(name, '^[^:]*'), string.format('%.0f', now_ms), name)
      is_awaited = true
    end
  end
  return is_awaited
end

-- what ended without a word to us, as a stock worker's does, holds nothing: one job is looked at by each claim
local function free_slots_of_ended(prefix, now_ms)
  local id = redis.call('HRANDFIELD', prefix .. 'held-slots')
  if id and redis.call('EXISTS', 'arq:job:' .. id) == 0 then
    free_slots(prefix, id, now_ms)
  end
end

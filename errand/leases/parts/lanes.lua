-- Jobs with a priority, the highest first: a part of claim.lua. `lane:<priority>` has their ids by when they are due or,
-- if that has changed, were; the queue knows. An entry of a job that has ended goes when its time comes.
local MOST_LANE_LOOKS = 1000
-- one start in so many is of the job that is due longest, so that many jobs of high priority do not starve the others
local BY_DUE_ONE_IN = 10

-- how many of `most` jobs are claimed by priority, on average; `number`: the worker's count of claims
local function most_by_priority(most, number)
  return most - math.floor(most / BY_DUE_ONE_IN) - (number % BY_DUE_ONE_IN < most % BY_DUE_ONE_IN and 1 or 0)
end

-- `room()`: how many more may be claimed so; `claim(id, due)` claims one, or finds that it cannot be
local function serve_lanes(prefix, queue, now_ms, room, claim)
  local priorities, looks = redis.call('SMEMBERS', prefix .. 'lanes'), MOST_LANE_LOOKS
  table.sort(priorities, function(one, other) return one > other end)
  for _, priority in ipairs(priorities) do
    local lane, skipped, ids = prefix .. 'lane:' .. priority, 0, nil
    while room() > 0 and looks > 0 and (not ids or #ids > 0) do
      ids = redis.call('ZRANGEBYSCORE', lane, '-inf', now_ms, 'LIMIT', skipped, room())
      for _, id in ipairs(ids) do
        looks = looks - 1
        local due = redis.call('ZSCORE', queue, id)
        if due and tonumber(due) <= now_ms then
          claim(id, due)
          due = redis.call('ZSCORE', queue, id)
        end
        if not due then
          redis.call('ZREM', lane, id)
        elseif tonumber(due) > now_ms then
          redis.call('ZADD', lane, due, id)
        else
          skipped = skipped + 1
        end
      end
    end
    if redis.call('EXISTS', lane) == 0 then
      redis.call('SREM', prefix .. 'lanes', priority)
    end
  end
end

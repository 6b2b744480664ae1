-- Jobs with a priority, the highest first: a part of claim.lua. `lane:<priority>` has their ids by when they are due or,
-- if that has changed, were; the queue knows. An entry of a job that has ended goes when its time comes.
local MOST_LANE_LOOKS = 1000
-- one start in so many is of the job that is due longest, so that many jobs of high priority do not starve the others
local BY_DUE_ONE_IN = 10

-- how many of `most` jobs are claimed by priority, on average; `number`: the worker's count of claims
local function most_by_priority(most, number)
  return most - math.floor(most / BY_DUE_ONE_IN) - (number % BY_DUE_ONE_IN < most % BY_DUE_ONE_IN and 1 or 0)
end

-- one look at those of a lane that are due first: claims them, and notes when the others are; returns how many stay due
local function serve_lane(lane, queue, now_ms, look_ms, ids, claim)
  local dues, later, gone, skipped = redis.call('ZMSCORE', queue, unpack(ids)), {}, {}, 0
  for number, id in ipairs(ids) do
    local due = dues[number]
    if not due then
      gone[#gone + 1] = id
    elseif tonumber(due) > now_ms or claim(id, due) == 0 then
      later[#later + 1] = tonumber(due) > now_ms and due or look_ms
      later[#later + 1] = id
    else
      skipped = skipped + 1
    end
  end
  if #gone > 0 then
    redis.call('ZREM', lane, unpack(gone))
  end
  if #later > 0 then
    redis.call('ZADD', lane, unpack(later))
  end
  return skipped
end

-- `lanes`: the set of priorities  `look_ms`: when the lease of one that is claimed ends  `room()`: how many more may be
-- claimed so
-- `claim(id, due)`: returns 1 if the job stays due
local function serve_lanes(lanes, queue, now_ms, look_ms, room, claim)
  local priorities, looks = redis.call('SMEMBERS', lanes), MOST_LANE_LOOKS
  table.sort(priorities, function(one, other) return one > other end)
  for _, priority in ipairs(priorities) do
    local lane, skipped, ids = string.sub(lanes, 1, -2) .. ':' .. priority, 0, nil
    while room() > 0 and looks > 0 and (not ids or #ids > 0) do
      ids = redis.call('ZRANGEBYSCORE', lane, '-inf', now_ms, 'LIMIT', skipped, room())
      looks = looks - #ids
      skipped = skipped + (#ids > 0 and serve_lane(lane, queue, now_ms, look_ms, ids, claim) or 0)
    end
    if redis.call('EXISTS', lane) == 0 then
      redis.call('SREM', lanes, priority)
    end
  end
end

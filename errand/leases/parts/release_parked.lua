-- Makes parked jobs due now, ahead of all others: a part of the scripts that do so.
--- @include "redis/parts/now"
--- @include "redis/parts/call_or_reset"

-- an entry counts only if nobody has moved the job since: it may have been cancelled, rescheduled or claimed
local function make_due(queue, id, parked_until, due, changes)
  local score = redis.call('ZSCORE', queue, id)
  if score and tonumber(score) == tonumber(parked_until) and tonumber(score) > now_ms then
    redis.call('ZADD', queue, due, id)
    redis.call('DEL', 'errand:put-back:' .. id)
    changes[#changes + 1] = 'queued ' .. id
  end
end

-- up to `most` jobs of the sorted set `parked`, in their order, and what became of each to `changes`; `looks`: entries
-- that are looked at, at most; returns how many of these are left
local function release_parked(queue, parked, most, looks, changes)
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  local due, until_changes = string.format('%.0f', math.min(tonumber(head[2] or now_ms), now_ms)), #changes + most
  while #changes < until_changes and looks > 0 do
    local entries = call_or_reset(parked, 'ZRANGE', 0, math.min(until_changes - #changes, looks) - 1, 'WITHSCORES')
    if #entries == 0 then
      break
    end
    for at = 1, #entries, 2 do
      redis.call('ZREM', parked, entries[at])
      make_due(queue, entries[at], entries[at + 1], due, changes)
    end
    looks = looks - #entries / 2
  end
  return looks
end

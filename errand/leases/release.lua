#!lua flags=allow-oom
-- Makes parked jobs due now, ahead of all others, for the worker that calls: it knows their types and claims them next.
-- KEYS  1 queue  2 paused  3… of each type: its parked jobs
-- ARGV  1 how many jobs at most  2 channel of events  3 how many entries to look at, at most
-- returns {how many were made due, 1 if there may be more}
--- @include "redis/parts/now"
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/publish_changes"
local queue, most, channel, looks = KEYS[1], tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
local due = string.format('%.0f', math.min(tonumber(head[2] or now_ms), now_ms))
local changes = {}

-- an entry counts only if nobody has moved the job since: it may have been cancelled, rescheduled or claimed
local function release(id, parked_until)
  local score = redis.call('ZSCORE', queue, id)
  if score and tonumber(score) == tonumber(parked_until) and tonumber(score) > now_ms then
    redis.call('ZADD', queue, due, id)
    redis.call('DEL', 'errand:put-back:' .. id)
    changes[#changes + 1] = 'queued ' .. id
  end
end

if redis.call('EXISTS', KEYS[2]) == 1 then
  return {0, 0}
end
for index = 3, #KEYS do
  while #changes < most and looks > 0 do
    local entries = call_or_reset(KEYS[index], 'ZRANGE', 0, math.min(most - #changes, looks) - 1, 'WITHSCORES')
    if #entries == 0 then
      break
    end
    for at = 1, #entries, 2 do
      redis.call('ZREM', KEYS[index], entries[at])
      release(entries[at], entries[at + 1])
    end
    looks = looks - #entries / 2
  end
end
if #changes > 0 then
  publish_changes(channel, changes)
end
return {#changes, (#changes >= most or looks <= 0) and 1 or 0}

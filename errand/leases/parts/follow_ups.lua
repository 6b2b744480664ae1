-- The jobs that follow an attempt: put by the call that accepts its success, or not at all. A part of finish.lua.
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "redis/parts/with_end"
--- @include "redis/parts/held"
--- @include "redis/parts/children"
--- @include "redis/parts/lane"

-- of groups within groups that one success puts; what another program has written may have no end
local MOST_LEVELS = 100

-- true if the group was cancelled that the job belongs to, by itself or with a group that is put with it
-- `parents`: those of all jobs that the success puts, by their ids
local function is_cancelled(parent, before, parents)
  local levels = 0
  while parents[parent] and levels < MOST_LEVELS do
    parent, levels = parents[parent], levels + 1
  end
  return parent ~= before and call_or_reset('errand:needs:' .. parent, 'HEXISTS', 'cancelled') == 1
end

-- of `job`: id, serialised job, delay in ms, run-at in ms since the epoch or false, by when it must have started, in ms from
-- now, or false, its parent, what it waits for (`held.lua`) or false
-- a job whose id exists is left as it is
local function put_follow_up(queue, channel, job, now_ms)
  local id, body, delay_ms, run_at_ms, expires_in_ms, parent, needs = unpack(job)
  if redis.call('EXISTS', 'arq:job:' .. id, 'arq:result:' .. id) > 0 then
    return nil
  end
  local due_ms = math.max(now_ms, run_at_ms or now_ms + delay_ms)
  redis.call('SET', 'arq:job:' .. id, expires_in_ms and with_end(body, now_ms, expires_in_ms) or body)
  if call_or_reset(queue, 'ZADD', string.format('%.0f', due_ms), id) == 0 then
    -- the body of an earlier job of that id has expired
    redis.call('DEL', 'arq:retry:' .. id, 'errand:attempts:' .. id, 'errand:progress:' .. id, 'errand:once:' .. id)
  end
  put_in_lane_of(channel, id, body, due_ms)
  add_child(parent, queue, id, now_ms)
  if needs then
    hold(id, needs, now_ms)
  end
  return (due_ms > now_ms and 'deferred ' or 'queued ') .. id
end

-- `before`: the job that they follow; returns true if some are not put, as their group was cancelled
local function put_follow_ups(part, before, parents, now_ms)
  local changes, some_left_out = {}, false
  for _, job in ipairs(part.jobs) do
    local is_left_out = is_cancelled(job[6], before, parents)
    changes[#changes + 1] = not is_left_out and put_follow_up(part.queue, part.channel, job, now_ms) or nil
    some_left_out = some_left_out or is_left_out
  end
  if #changes > 0 then
    wake_one(part.wake)
    publish_changes(part.channel, changes)
  end
  return some_left_out
end

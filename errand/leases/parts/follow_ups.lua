-- The jobs that follow an attempt: put by the call that accepts its success, or not at all. A part of finish.lua.
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "redis/parts/with_end"
--- @include "redis/parts/held"
--- @include "redis/parts/children"
--- @include "redis/parts/lane"

-- of `job`: id, serialised job, delay in ms, run-at in ms since the epoch or false, by when it must have started, in ms from
-- now, or false, its parent, what it waits for (`held.lua`) or false  `before`: the job that it follows
-- a job whose id exists is left as it is
local function put_follow_up(queue, channel, job, before, now_ms)
  local id, body, delay_ms, run_at_ms, expires_in_ms, parent, needs = unpack(job)
  local is_cancelled = parent ~= before and call_or_reset('errand:needs:' .. parent, 'HEXISTS', 'cancelled') == 1
  if is_cancelled or redis.call('EXISTS', 'arq:job:' .. id, 'arq:result:' .. id) > 0 then
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

local function put_follow_ups(part, before, now_ms)
  local changes = {}
  for _, job in ipairs(part.jobs) do
    changes[#changes + 1] = put_follow_up(part.queue, part.channel, job, before, now_ms)
  end
  if #changes > 0 then
    wake_one(part.wake)
    publish_changes(part.channel, changes)
  end
end

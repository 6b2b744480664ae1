-- What the end of a job means for others: a part of finish.lua.
--- @include "leases/parts/follow_ups"
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/needs"
--- @include "redis/parts/children"
local HOOKS_KEPT_MS = 604800000

-- `json`: '', or a list of parts, each with `outcome`, the number of the outcome in this call that it belongs to; and either
-- queue, wake, channel and jobs: those that follow its success (`follow_ups.lua`); or waited: whether it had waited for
-- others, and ends: the last step of its chain, {id, needed}, or false; or hooks: where to note that they are to be
-- called, and hooks_take_ms
local function parts_of(json)
  if json == '' then
    return nil
  end
  local of_outcomes = {}
  for _, part in ipairs(cjson.decode(json)) do
    local known = of_outcomes[part.outcome] or {}
    known[#known + 1] = part
    of_outcomes[part.outcome] = known
  end
  return of_outcomes
end

-- the job had waited for others: that is kept as long as it may be replayed
local function end_wait(id, status, keep_ms, now_ms)
  if status == 'cancelled' then
    cancel_children(id, now_ms)
  end
  if status == 'succeeded' then
    redis.call('DEL', 'errand:needs:' .. id)
  elseif keep_ms ~= '' then
    redis.call('PEXPIRE', 'errand:needs:' .. id, keep_ms)
  end
end

-- of the jobs that follow, by their ids
local function parents_in(parts)
  local parents = {}
  for _, part in ipairs(parts) do
    for _, job in ipairs(part.jobs or {}) do
      parents[job[1]] = job[6]
    end
  end
  return parents
end

-- `needed`: the key of the ids of jobs that others wait for, or false if there are none
local function go_on(parts, needed, id, status, record, keep_ms, now_ms)
  if parts then
    local parents, chain_ends = parents_in(parts), status ~= 'succeeded' and status or nil
    for _, part in ipairs(parts) do
      if part.jobs and status == 'succeeded' then
        chain_ends = put_follow_ups(part, id, parents, now_ms) and 'cancelled' or chain_ends
      elseif part.ends and chain_ends then
        note_end(part.ends[2], part.ends[1], chain_ends, record, keep_ms, now_ms)
      end
      if part.hooks then
        call_or_reset(part.hooks, 'ZADD', string.format('%.0f', now_ms + part.hooks_take_ms), id)
        -- no worker may have hooks any more
        redis.call('PEXPIRE', part.hooks, HOOKS_KEPT_MS)
      end
      if part.waited then
        end_wait(id, status, keep_ms, now_ms)
      end
    end
    keep_children(id, keep_ms)
  end
  if needed then
    note_end(needed, id, status, record, keep_ms, now_ms)
  end
end

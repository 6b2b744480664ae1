-- Takes hold of jobs for the worker that claims: a part of claim.lua, whose names it uses.
--- @include "redis/parts/call_or_reset"
--- @include "leases/parts/lost_attempt"
--- @include "leases/parts/started"
--- @include "leases/parts/lines"
-- returns the row of the answer
local function claimed(id, due)
  local tries = call_or_reset('arq:retry:' .. id, 'INCR')
  -- out of the way of the next claim, and due again by itself if the lease is not renewed
  redis.call('ZADD', queue, lease_end, id)
  local started = tries > 1 and redis.call('HGET', running, id)
  local lost = started and record_lost(id, started, now_ms, isolated)
  local cancel = any_cancels and is_to_cancel(cancels, id, started) and 1
  if cancel then
    -- kept: this worker may end before it has cancelled the job
    redis.call('HSET', cancels, id, token)
  end
  redis.call('HSET', running, id, tries .. ' ' .. due .. ' ' .. now .. ' ' .. token)
  local attempts = call_or_reset('errand:attempts:' .. id, 'LRANGE', 0, -1)
  -- the body of a stock producer may expire before the job is started; once started, a lost lease must not lose the job
  local body = call_or_reset('arq:job:' .. id, 'GETEX', 'PERSIST')
  return {id, due, tries, body, attempts, lost, cancel}
end

-- `job`: the limits that count it, if it has some; returns false if somebody else has its lease
local function start(id, due, job)
  if not redis.call('SET', 'arq:in-progress:' .. id, token, 'NX', 'PX', lease_ms) then
    return false
  end
  jobs[#jobs + 1] = claimed(id, due)
  changes[#changes + 1] = 'in_progress ' .. id
  if job then
    count_start(limits, job)
  end
  return true
end

-- somebody else has the lease: returns how many jobs the next look skips
local function pass_over(id, lease)
  if call_or_reset(lease, 'GET') == '1' then
    -- a stock worker's: it adds the wait for a retry to the score that it has read, so the score stays
    return 1
  end
  -- not PTTL: in a script of Redis 7.0 that goes on counting, while now_ms is from its start
  redis.call('ZADD', queue, math.max(redis.call('PEXPIRETIME', lease), now_ms + 1), id)
  return 0
end

-- claims a due job if that can be; returns 1 if it stays due all the same
local function consider(id, due)
  local lease = 'arq:in-progress:' .. id
  if may_run_still(running, id, ahead) then
    return 1
  elseif unsure and redis.call('HEXISTS', running, id) == 1 then
    redis.call('ZADD', queue, lease_end, id)
  elseif not (limits and is_held_back(limits, id, due) or start(id, due, limits and limits.job)) then
    return pass_over(id, lease)
  end
  return 0
end

-- Takes hold of jobs for the worker that claims: a part of claim.lua, whose names it uses.
--- @include "redis/parts/call_or_reset"
--- @include "leases/parts/lost_attempt"
local scores, entries = {}, {}
-- notes in the queue and among the running jobs what was claimed, in one call each; the queue is read only after it
local function note_claimed()
  for first = 1, #scores, 1000 do
    redis.call('ZADD', queue, unpack(scores, first, math.min(first + 999, #scores)))
    redis.call('HSET', running, unpack(entries, first, math.min(first + 999, #scores)))
  end
  scores, entries = {}, {}
end

-- returns the row of the answer; `note_claimed` must follow
local function claimed(id, due)
  local tries = call_or_reset('arq:retry:' .. id, 'INCR')
  -- out of the next claim's way, and due again by itself if the lease is not renewed
  scores[#scores + 1], scores[#scores + 2] = lease_end, id
  local started = tries > 1 and redis.call('HGET', running, id)
  local lost = started and record_lost(id, started, now_ms, isolated)
  local cancel = any_cancels and is_to_cancel(cancels, id, started) and 1
  if cancel then
    redis.call('HSET', cancels, id, token) -- kept: this worker may end before it has cancelled the job
  end
  entries[#entries + 1], entries[#entries + 2] = id, tries .. ' ' .. due .. ' ' .. now .. ' ' .. token
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
    limits.count(limits, job)
  end
  return true
end

-- somebody else has the lease: returns how many jobs the next look skips
local function pass_over(id, lease)
  if call_or_reset(lease, 'GET') == '1' then
    return 1 -- a stock worker's: it adds the wait for a retry to the score that it has read, so the score stays
  end
  -- not PTTL: in a script of Redis 7.0 that goes on counting, while now_ms is from its start
  redis.call('ZADD', queue, math.max(redis.call('PEXPIRETIME', lease), now_ms + 1), id)
  return 0
end

-- claims a due job if that can be; returns 1 if it stays due all the same
local function consider(id, due)
  local lease = 'arq:in-progress:' .. id
  if any_run and may_run_still(running, id, ahead) then
    return 1
  elseif unsure and redis.call('HEXISTS', running, id) == 1 then
    redis.call('ZADD', queue, lease_end, id)
  elseif not (limits and limits.hold_back(limits, id, due) or start(id, due, limits and limits.job)) then
    return pass_over(id, lease)
  end
  return 0
end

-- claims of those jobs what can be claimed; returns how many stay due
local function consider_all(due)
  local stay = 0
  for index = 1, #due, 2 do
    stay = stay + (#jobs < most and consider(due[index], due[index + 1]) or 0)
  end
  return stay
end

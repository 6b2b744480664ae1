-- Jobs that wait for others: a part of the scripts that put jobs, and of those that end them.
-- `errand:needs:<id>`, hash, what a job waits for: `queue` (its own), `after`, `delay_ms` and `run_at_ms` (from when they
--   have ended), `left` (how many have not), `is_given` (0 if it is given none of their results; earlier versions say
--   nothing), `to_come` (how many were not there when it was put, as next steps of chains; neither do they say that), and
--   of each `job:<id>`: '' until it has ended, then `<end> <its result>`, or `<end> <why_not>` if `is_given` is 0.
-- `errand:needed-by:<id>`, set: the jobs that wait for it. `errand:<queue>:needed`, set: the queue's jobs that have one.
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "redis/parts/held_ms"
--- @include "redis/parts/lane"
--- @include "redis/parts/noted_end"

local function release(id, needs, now_ms, at_once)
  local queue, delay_ms, run_at_ms = unpack(redis.call('HMGET', needs, 'queue', 'delay_ms', 'run_at_ms'))
  -- if it has been made due before, it may run by now
  if not queue or tonumber(call_or_reset(queue, 'ZSCORE', id) or 0) ~= HELD_MS then
    return
  end
  local due_ms = at_once and now_ms or math.max(now_ms, tonumber(run_at_ms) or now_ms + delay_ms)
  redis.call('ZADD', queue, 'XX', string.format('%.0f', due_ms), id)
  move_in_lane('errand:' .. queue .. ':events', id, due_ms)
  wake_one('errand:' .. queue .. ':wake')
  publish_changes('errand:' .. queue .. ':events', {(due_ms > now_ms and 'deferred ' or 'queued ') .. id})
end

-- an end that was noted before does not count again; `ended`: {status, why}
local function note_end_for(waiting, id, ended, record, now_ms)
  local needs, status = 'errand:needs:' .. waiting, ended.status
  local known, is_given = unpack(call_or_reset(needs, 'HMGET', 'job:' .. id, 'is_given'))
  if not known then
    return
  end
  redis.call('HSET', needs, 'job:' .. id, noted(ended, is_given ~= '0' and record))
  local left = known == '' and redis.call('HINCRBY', needs, 'left', -1) or tonumber(redis.call('HGET', needs, 'left'))
  local unmet = status ~= 'succeeded' and redis.call('HGET', needs, 'after') ~= 'all_ended'
  if left == 0 or unmet then
    release(waiting, needs, now_ms, unmet)
  end
end

-- `keep_ms`: how long the result is kept, '' for ever: until then an unsuccessful job may be replayed
local function note_end(needed, id, status, record, keep_ms, now_ms)
  if call_or_reset(needed, 'SREM', id) == 0 then
    return
  end
  local needed_by = 'errand:needed-by:' .. id
  local ended = {status = status, why = status ~= 'succeeded' and why_not(read_result(record)) or ''}
  for _, waiting in ipairs(call_or_reset(needed_by, 'SMEMBERS')) do
    note_end_for(waiting, id, ended, record, now_ms)
  end
  if status == 'succeeded' then
    redis.call('DEL', needed_by)
  elseif keep_ms ~= '' then
    redis.call('PEXPIRE', needed_by, keep_ms)
  end
end

-- a job is replayed: the jobs that wait for it do so again; `as`: itself, or the last step of the chain that it is in
local function needed_again(needed, as)
  local needed_by = 'errand:needed-by:' .. as
  local waiting = call_or_reset(needed_by, 'SMEMBERS')
  for _, other in ipairs(waiting) do
    local needs = 'errand:needs:' .. other
    if (call_or_reset(needs, 'HGET', 'job:' .. as) or '') ~= '' then
      redis.call('HSET', needs, 'job:' .. as, '')
      redis.call('HINCRBY', needs, 'left', 1)
      redis.call('HDEL', needs, 'cancelled') -- its chain goes on
    end
  end
  if #waiting > 0 then
    call_or_reset(needed, 'SADD', as)
    redis.call('PERSIST', needed_by)
  end
end

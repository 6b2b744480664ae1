-- Has a job wait for others: a part of the scripts that put jobs. What is kept of that stands in `needs.lua`.
--- @include "redis/parts/needs"
--- @include "redis/parts/noted_end"
--- @include "redis/parts/call_or_reset"

-- of results that one call reads, or so: a mebibyte takes Redis five milliseconds, and it answers nobody meanwhile
local MOST_BYTES_READ = 16 * 1024 * 1024

-- of jobs that have ended: of many that wait for one each would read its result
local ends, bytes_read = {}, 0

local function end_in(record)
  local read = read_result(record)
  if read.s == true then
    return {status = 'succeeded', why = ''}
  end
  return {status = type(read.r) == 'table' and read.r.cancelled and 'cancelled' or 'failed', why = why_not(read)}
end

-- how a job has ended, {status, why}, `unknown` if it is not known; nil if it is still to end, or if this call has read so
-- much that its end is left to a sweep (errand/worker/sweep), and then whether it is there
local function end_of(id, is_to_come)
  if ends[id] or redis.call('EXISTS', 'arq:job:' .. id) == 1 then
    return ends[id], true
  end
  local result = 'arq:result:' .. id
  local is_kept = redis.call('EXISTS', result) == 1
  if is_kept and bytes_read >= MOST_BYTES_READ then
    return nil, true
  end
  local record = is_kept and call_or_reset(result, 'GET')
  if not record then
    return not is_to_come and {status = 'unknown', why = ''} or nil, false
  end
  bytes_read = bytes_read + #record
  ends[id] = end_in(record)
  return ends[id]
end

-- `of`: {queue, after, delay_ms, run_at_ms or false, children: whether they are put by the same call, is_given: whether
-- it is given what they have returned, jobs: {{id, queue}, …}}
local function hold(id, of, now_ms)
  local needs, left, to_come, unmet = 'errand:needs:' .. id, 0, 0, false
  redis.call('DEL', needs)
  for _, job in ipairs(of.jobs) do
    local other, queue = job[1], job[2]
    local known, is_there = end_of(other, of.children)
    local record = known and of.is_given and redis.call('GET', 'arq:result:' .. other)
    redis.call('HSET', needs, 'job:' .. other, known and noted(known, record) or '')
    if not known then
      left, to_come = left + 1, to_come + (is_there and 0 or 1)
      call_or_reset('errand:' .. queue .. ':needed', 'SADD', other)
    end
    unmet = unmet or (known and of.after ~= 'all_ended' and known.status ~= 'succeeded')
    call_or_reset('errand:needed-by:' .. other, 'SADD', id)
    -- one that failed may be replayed as long as it is kept
    local kept_ms = known and redis.call('PTTL', 'arq:result:' .. other)
    if known and kept_ms ~= -1 then
      redis.call('PEXPIRE', 'errand:needed-by:' .. other, math.max(kept_ms, 1))
    end
  end
  redis.call('HSET', needs, 'queue', of.queue, 'after', of.after, 'left', left, 'delay_ms', of.delay_ms,
    'run_at_ms', of.run_at_ms or '', 'is_given', of.is_given and 1 or 0, 'to_come', to_come)
  if left == 0 or unmet then
    release(id, needs, now_ms, unmet)
  end
end

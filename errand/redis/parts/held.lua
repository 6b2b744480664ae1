-- Has a job wait for others: a part of the scripts that put jobs. What is kept of that stands in `needs.lua`.
--- @include "redis/parts/needs"
--- @include "redis/parts/call_or_reset"

-- `<end> <result>` of a job that has ended, or is not known; nothing if it is still to end
local function end_of(id, is_to_come)
  local record = redis.call('EXISTS', 'arq:job:' .. id) == 0 and redis.call('GET', 'arq:result:' .. id)
  if not record then
    return redis.call('EXISTS', 'arq:job:' .. id) == 0 and not is_to_come and 'unknown '
  end
  local readable, read = pcall(cjson.decode, record)
  local failure = readable and type(read.r) == 'table' and read.r.cancelled and 'cancelled ' or 'failed '
  return (readable and read.s == true and 'succeeded ' or failure) .. record
end

-- `of`: {queue, after, delay_ms, run_at_ms or false, children: whether they are put by the same call, jobs: {{id, queue}, …}}
local function hold(id, of, now_ms)
  local needs, left, unmet = 'errand:needs:' .. id, 0, false
  redis.call('DEL', needs)
  for _, job in ipairs(of.jobs) do
    local other, queue = job[1], job[2]
    local known = end_of(other, of.children)
    redis.call('HSET', needs, 'job:' .. other, known or '')
    if not known then
      left = left + 1
      call_or_reset('errand:' .. queue .. ':needed', 'SADD', other)
    end
    unmet = unmet or (known and of.after ~= 'all_ended' and string.sub(known, 1, 10) ~= 'succeeded ')
    call_or_reset('errand:needed-by:' .. other, 'SADD', id)
    -- one that failed may be replayed as long as it is kept
    local kept_ms = known and redis.call('PTTL', 'arq:result:' .. other)
    if known and kept_ms ~= -1 then
      redis.call('PEXPIRE', 'errand:needed-by:' .. other, math.max(kept_ms, 1))
    end
  end
  redis.call('HSET', needs, 'queue', of.queue, 'after', of.after, 'left', left, 'delay_ms', of.delay_ms,
    'run_at_ms', of.run_at_ms or '')
  if left == 0 or unmet then
    release(id, needs, now_ms, unmet)
  end
end

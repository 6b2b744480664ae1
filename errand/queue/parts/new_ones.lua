-- Puts jobs on no conditions with few calls: a part of enqueue.lua.
--- @include "redis/parts/now"
--- @include "queue/parts/expired"

-- of what one call takes: Lua hands on fewer than 8,000 values
local JOBS_IN_A_CALL = 1000

-- whether all of them are due at once, and each is another job, which is not known
local function are_new(number_of_jobs)
  local seen = {}
  for at = 6, number_of_jobs * 4 + 2, 4 do
    if seen[ARGV[at]] or ARGV[at + 2] ~= '0' or ARGV[at + 3] ~= '' then
      return false
    end
    seen[ARGV[at]] = true
  end
  for first = 1, number_of_jobs, JOBS_IN_A_CALL do
    local last = math.min(first + JOBS_IN_A_CALL - 1, number_of_jobs)
    if redis.call('EXISTS', unpack(KEYS, first * 2 + 2, last * 2 + 3)) > 0 then
      return false
    end
  end
  return true
end

-- true if it has put them: several, of which are_new says so; each of the three lists has an entry for each job then
local function put_new_ones(queue, running, number_of_jobs, tags, details, changes)
  if number_of_jobs < 2 or not are_new(number_of_jobs) then
    return false
  end
  local due = string.format('%.0f', now_ms)
  for first = 1, number_of_jobs, JOBS_IN_A_CALL do
    local members = {}
    for number = first, math.min(first + JOBS_IN_A_CALL - 1, number_of_jobs) do
      members[#members + 1] = due
      members[#members + 1] = ARGV[number * 4 + 2]
    end
    -- first what a queue of a wrong type refuses
    local added = redis.call('ZADD', queue, unpack(members))
    for at = 2, #members, 2 do
      local id, number = members[at], first + at / 2 - 1
      redis.call('SET', KEYS[number * 2 + 2], ARGV[number * 4 + 3])
      if added < #members / 2 then
        forget_expired(running, id)
      end
      tags[number], details[number], changes[number] = 'queued', now_ms, 'queued ' .. id
    end
  end
  return true
end

-- Puts jobs with few calls, if they have no other conditions than idempotency keys: a part of enqueue.lua,
-- whose KEYS and ARGV it uses.
--- @include "redis/parts/now"
--- @include "redis/parts/moving"
--- @include "queue/parts/expired"

-- of what one call takes: Lua hands on fewer than 8,000 values
local JOBS_IN_A_CALL = 1000

-- adds to `seen`, and to the names in `marks`, the keys of the conditions; false if one is of another kind, or seen
local function are_just_marks(conditions, seen, marks)
  for _, condition in pairs(conditions) do
    local name = condition.mark and KEYS[condition.mark.at]
    local more = condition.unique or condition.flow or condition.expires_in_ms or condition.priority
    if more or not name or seen[name] then
      return false
    end
    seen[name], marks[#marks + 1] = true, name
  end
  return true
end

-- whether all of them are due at once, and each is another job, and under another key, which is not known
local function are_new(number_of_jobs, conditions)
  local seen, marks = {}, {}
  if not are_just_marks(conditions, seen, marks) then
    return false
  end
  for at = 6, number_of_jobs * 4 + 2, 4 do
    if seen[ARGV[at]] or ARGV[at + 2] ~= '0' or ARGV[at + 3] ~= '' then
      return false
    end
    seen[ARGV[at]] = true
  end
  for first = 1, number_of_jobs, JOBS_IN_A_CALL do
    local last = math.min(first + JOBS_IN_A_CALL - 1, number_of_jobs)
    local known = redis.call('EXISTS', 'errand:move', unpack(KEYS, first * 2 + 2, last * 2 + 3))
    if known > 0 or (marks[first] and redis.call('EXISTS', unpack(marks, first, math.min(last, #marks))) > 0) then
      return false
    end
  end
  return true
end

-- true if it has put them: several, of which are_new says so; each of the three lists has an entry for each job then
-- `with`: the functions of conditions, if there are any
local function put_new_ones(number_of_jobs, tags, details, changes, conditions, with)
  if number_of_jobs < 2 or not are_new(number_of_jobs, conditions) then
    return false
  end
  local queue, running, channel, due = KEYS[1], KEYS[3], ARGV[1], string.format('%.0f', now_ms)
  local keep_mark = with and with.remember
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
      if conditions[number] then
        keep_mark(conditions[number], channel, id, now_ms)
      end
    end
  end
  return true
end

-- Which jobs of a queue stand below a position of its timeline, the newest first. Reads; the number of jobs is nothing to it.
-- KEYS  1 queue  2 running  3 names of the indexes of ended jobs
-- ARGV  1 the position: ms, or +inf  2 the job id there, or ''  3 how many at most of each kind of place
--       4 in ms, or +inf: what ended from then on is left out  5 type, '' for all
--       6 '' or `queued`, `deferred`, `both`: which of those that wait  7 1 if running ones are included, else 0
--       8… the ends that are included
-- returns {now in ms and µs behind the point, running (id, attempt started, …), waiting (id, due, …), of each index {its name, id, end, …}}
--- @include "monitor/parts/rank"
local queue, running_jobs, names = KEYS[1], KEYS[2], KEYS[3]
local at_ms, at_id, most, before_ms, type, waiting, with_running = unpack(ARGV, 1, 7)
most = tonumber(most)

--- @include "redis/parts/now"

-- the position itself, or the one below all that is not before that moment
local function before(ms)
  if tonumber(at_ms) >= tonumber(ms) then
    return ms, ''
  end
  return at_ms, at_id
end

local running = redis.call('HGETALL', running_jobs)

-- of a running job the queue holds the end of the lease, which is no place on the timeline
local function waiting_jobs()
  local runs, found = {}, {}
  for at = 1, #running, 2 do
    runs[running[at]] = true
  end
  local ms, id = at_ms, at_id
  if waiting == 'queued' then
    ms, id = before(string.format('%.0f', now_ms + 1))
  end
  local rank = above(queue, ms, id)
  while #found < most * 2 do
    local part = redis.call('ZREVRANGE', queue, rank, rank + most - 1, 'WITHSCORES')
    for at = 1, #part, 2 do
      if waiting == 'deferred' and tonumber(part[at + 1]) <= now_ms then
        return found
      elseif not runs[part[at]] then
        found[#found + 1], found[#found + 2] = part[at], part[at + 1]
      end
    end
    if #part == 0 then
      break
    end
    rank = rank + most
  end
  return found
end

local function ended_jobs(name)
  local index, ms, id = names .. ':' .. name, at_ms, at_id
  if before_ms ~= '+inf' then
    ms, id = before(before_ms)
  end
  local rank = above(index, ms, id)
  return {name, unpack(redis.call('ZREVRANGE', index, rank, rank + most - 1, 'WITHSCORES'))}
end

local answer = {string.format('%d.%03d', now_ms, time[2] % 1000), with_running == '1' and running or {}, waiting ~= '' and waiting_jobs() or {}}
local included = {}
for at = 8, #ARGV do
  included[ARGV[at]] = true
end
for _, name in ipairs(#ARGV >= 8 and redis.call('SMEMBERS', names) or {}) do
  local its_end, its_type = string.match(name, '^(%a+):(.*)$')
  if included[its_end] and (type == '' or its_type == type or its_type == '*') then
    answer[#answer + 1] = ended_jobs(name)
  end
end
return answer

-- Lists the jobs of a queue below a position on its timeline, newest first. Reads only; its cost does not grow with the jobs.
-- KEYS  1 queue  2 running  3 names of the indexes of ended jobs
-- ARGV  1 options  2 the job id of the position, or ''
--       options, as JSON: below_ms (the position: ms, or +inf), most (how many jobs at most that wait, and of each index),
--       ended_before_ms (ms, or +inf: jobs that ended from then on are left out), type ('' for all),
--       waiting ('', `queued`, `deferred` or `both`), with_running (true or false), ends (those that are included)
-- returns {now, running, waiting, ended}: now in ms with µs behind the point, running as {id, attempt started, …},
--         waiting as {id, due, …}, ended as a list of {name of an index, id, end, …}
--- @include "monitor/parts/rank"
local queue, running_jobs, names = KEYS[1], KEYS[2], KEYS[3]
local options, below_id = cjson.decode(ARGV[1]), ARGV[2]
local below_ms, most = options.below_ms, options.most

--- @include "redis/parts/now"

-- the lower one of two positions: the page's, and the one right below that moment
local function before(ms)
  if tonumber(below_ms) >= tonumber(ms) then
    return ms, ''
  end
  return below_ms, below_id
end

local running = redis.call('HGETALL', running_jobs)

-- the queue holds the end of a running job's lease, which is no position on the timeline
local function waiting_jobs()
  local runs, found = {}, {}
  for at = 1, #running, 2 do
    runs[running[at]] = true
  end
  local ms, id = below_ms, below_id
  if options.waiting == 'queued' then
    ms, id = before(string.format('%.0f', now_ms + 1))
  end
  local rank = above(queue, ms, id)
  while #found < most * 2 do
    local part = redis.call('ZREVRANGE', queue, rank, rank + most - 1, 'WITHSCORES')
    for at = 1, #part, 2 do
      if options.waiting == 'deferred' and tonumber(part[at + 1]) <= now_ms then
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
  local index, ms, id = names .. ':' .. name, below_ms, below_id
  if options.ended_before_ms ~= '+inf' then
    ms, id = before(options.ended_before_ms)
  end
  local rank = above(index, ms, id)
  return {name, unpack(redis.call('ZREVRANGE', index, rank, rank + most - 1, 'WITHSCORES'))}
end

local included, ended = {}, {}
for _, its_end in ipairs(options.ends) do
  included[its_end] = true
end
for _, name in ipairs(#options.ends > 0 and redis.call('SMEMBERS', names) or {}) do
  local its_end, its_type = string.match(name, '^(%a+):(.*)$')
  if included[its_end] and (options.type == '' or its_type == options.type or its_type == '*') then
    ended[#ended + 1] = ended_jobs(name)
  end
end
local now = string.format('%d.%03d', now_ms, time[2] % 1000)
return {now, options.with_running and running or {}, options.waiting ~= '' and waiting_jobs() or {}, ended}

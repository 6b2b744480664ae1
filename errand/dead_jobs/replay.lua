-- Puts ended jobs again, each under its own id and with all of its tries.
-- KEYS  1 queue  2 wake  3 dead  4 dead, by group  5 names of the indexes of ended jobs  6 needed
-- ARGV  1 channel of events  2… two for each job: its options, the serialised job
--       options, as JSON: id, digest (SHA-1 of its result), index (its index of ended jobs), and if there is one:
--       entry (its entry among the dead), run_at_ms (since the epoch), waited (true if it had waited for others),
--       ends ({id, needed} of the last step of its chain)
-- returns for each job when it is due, in ms since the epoch; nil if its result is gone by now, or another
--- @include "redis/parts/now"
--- @include "redis/parts/dead_index"
--- @include "redis/parts/ended_index"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/needs"
--- @include "redis/parts/publish_changes"
--- @include "redis/parts/lane"
local queue, wake, dead, dead_by_group, names = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local channel = ARGV[1]

local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
local first_ms = tonumber(head[2] or math.huge)

-- the first replay takes the result away; a job that has ended again since has another one
local function is_as_it_was_read(id, digest)
  local result = redis.call('GET', 'arq:result:' .. id)
  return result and redis.sha1hex(result) == digest
    and redis.call('EXISTS', 'arq:job:' .. id, 'arq:in-progress:' .. id) == 0
end

-- what is kept of its needs, and for the jobs that wait for it, would expire
local function wait_again(id, options)
  needed_again(KEYS[6], id)
  if options.ends then
    needed_again(options.ends[2], options.ends[1])
  end
  if options.waited then
    redis.call('PERSIST', 'errand:needs:' .. id)
    redis.call('HDEL', 'errand:needs:' .. id, 'cancelled')
  end
end

local answers, changes, urgent = {}, {}, false
for at = 2, #ARGV, 2 do
  local options, job = cjson.decode(ARGV[at]), ARGV[at + 1]
  local id, due_ms = options.id, false
  if is_as_it_was_read(id, options.digest) then
    due_ms = math.max(now_ms, options.run_at_ms or now_ms)
    local later = due_ms > now_ms
    -- what `ctx.once` has marked stays, and would expire with the result
    redis.call('PERSIST', 'errand:once:' .. id)
    redis.call('DEL', 'arq:result:' .. id, 'arq:retry:' .. id, 'errand:attempts:' .. id, 'errand:progress:' .. id)
    redis.call('SET', 'arq:job:' .. id, job)
    unlist_ended(names, options.index, id)
    redis.call('ZADD', queue, string.format('%.0f', due_ms), id)
    put_in_lane_of(channel, id, job, due_ms)
    remove_dead(dead, dead_by_group, options.entry or '')
    wait_again(id, options)
    changes[#changes + 1] = (later and 'deferred ' or 'queued ') .. id
    urgent = urgent or not later or due_ms < first_ms
  end
  answers[#answers + 1] = due_ms
end

-- a worker that rests knows neither what is due now nor what is due sooner than the head of the queue was
if urgent then
  wake_one(wake)
end
if #changes > 0 then
  publish_changes(channel, changes)
end
return answers

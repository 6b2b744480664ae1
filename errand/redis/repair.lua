#!lua flags=allow-oom
-- Removes what another program has written over keys of a queue, and what would make calls fail that use them.
-- KEYS  1 queue  2 running  3 names of the indexes of ended jobs  4 counters  5 the last minutes  6 schedules  7 endpoints
--       8… others
-- ARGV  1 how many of the jobs that are due first to look at  2… the types of KEYS, in their order
-- returns {key, what it was, …} of those that were removed, or lost a field
local queue, running, names, counters, minutes, schedules, endpoints = unpack(KEYS, 1, 7)
local removed = {}

local function note(key, what)
  removed[#removed + 1], removed[#removed + 2] = key, what
end

local function check_type(key, expected)
  local kind = redis.call('TYPE', key).ok
  if kind ~= expected and kind ~= 'none' then
    redis.call('DEL', key)
    note(key, kind)
  end
end

-- of what a counter may have: one at the end of what Redis can count makes each call fail that adds to it
local MOST_DIGITS = 15

-- `fields`: the pattern of their names
local function check_numbers(key, fields)
  local all = redis.call('HGETALL', key)
  for at = 1, #all, 2 do
    local number = string.match(all[at + 1], '^%d+$')
    if not number or #number > MOST_DIGITS or not string.match(all[at], fields) then
      redis.call('HDEL', key, all[at])
      note(key, 'field ' .. all[at])
    end
  end
end

local function check_job(id)
  for _, kind in ipairs({'in-progress', 'job', 'result', 'retry'}) do
    check_type('arq:' .. kind .. ':' .. id, 'string')
  end
  check_type('errand:attempts:' .. id, 'list')
  check_type('errand:progress:' .. id, 'string')
  check_type('errand:put-back:' .. id, 'string')
  check_type('errand:once:' .. id, 'hash')
  check_type('errand:needs:' .. id, 'hash')
  check_type('errand:needed-by:' .. id, 'set')
  check_type('errand:children:' .. id, 'zset')
end

for number, key in ipairs(KEYS) do
  check_type(key, ARGV[number + 1])
end
check_numbers(counters, '')
check_numbers(minutes, '^%d+ %S+$')
for _, name in ipairs(redis.call('SMEMBERS', names)) do
  check_type(names .. ':' .. name, 'zset')
end
for _, id in ipairs(redis.call('ZRANGE', schedules, 0, -1)) do
  check_type('errand:schedule:' .. id, 'hash')
end
for _, id in ipairs(redis.call('ZRANGE', endpoints, 0, -1)) do
  check_type('errand:webhooks:endpoint:' .. id, 'hash')
  check_type('errand:webhooks:attempts:' .. id, 'stream')
end
-- those that a claim or a heartbeat comes by: the others are looked at when they are due
for _, id in ipairs(redis.call('HKEYS', running)) do
  check_job(id)
end
for _, id in ipairs(redis.call('ZRANGE', queue, 0, tonumber(ARGV[1]) - 1)) do
  check_job(id)
end
return removed

-- Counts dead jobs by type and fingerprint in one step for each group, without looking at each job.
-- KEYS  1 dead, by group
-- ARGV  1 type, or '' for all  2 fingerprint, or '' for all  3 how long dead jobs are kept, in ms
--       4 how many groups to look at, at most
-- returns {1 if there are more groups than that, else 0; groups}; each group is {count, its oldest entry, its newest}
local index, type_name, fingerprint = KEYS[1], ARGV[1], ARGV[2]
local keep_ms, most = tonumber(ARGV[3]), tonumber(ARGV[4])

-- an entry is `<type> <fingerprint> <end, 15 digits> <id>`; '!' is the byte after the space
local from, last = '-', '+'
if type_name ~= '' then
  from, last = '[' .. type_name .. ' ', '(' .. type_name .. '!'
end
--- @include "redis/parts/now"
local kept_since = string.format('%015.0f', math.max(now_ms - keep_ms, 0))

local groups = {}
for _ = 1, most do
  local entry = redis.call('ZRANGE', index, from, last, 'BYLEX', 'LIMIT', 0, 1)[1]
  if not entry then
    return {0, groups}
  end
  local name, its_fingerprint = string.match(entry, '^([^ ]+ ([^ ]+)) ')
  if name then
    -- entries of jobs that have expired may still be there
    local first, past = '[' .. name .. ' ' .. kept_since, name .. '!'
    local count = redis.call('ZLEXCOUNT', index, first, '(' .. past)
    if count > 0 and (fingerprint == '' or fingerprint == its_fingerprint) then
      local oldest = redis.call('ZRANGE', index, first, '(' .. past, 'BYLEX', 'LIMIT', 0, 1)[1]
      local newest = redis.call('ZRANGE', index, '(' .. past, first, 'BYLEX', 'REV', 'LIMIT', 0, 1)[1]
      groups[#groups + 1] = {count, oldest, newest}
    end
    from = '[' .. past
  else
    -- another program's
    redis.call('ZREM', index, entry)
  end
end
return {1, groups}

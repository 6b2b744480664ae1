-- Counts dead jobs by type and fingerprint in one step for each group, without looking at each job.
-- KEYS  1 dead, by group
-- ARGV  1 type, or '' for all  2 fingerprint, or '' for all  3 what the faults are about, or '' for all
--       4 how long dead jobs are kept, in ms  5 how many groups to look at, at most
--       6 where the call before has stopped, or ''
-- returns {where it has stopped, or '' at the end; groups}; each group is {count, its oldest entry, its newest}
local index, type_name, fingerprint, about = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local keep_ms, most, stopped = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]

-- an entry is `<type> <fingerprint> <end, 15 digits> <id>`, and a fingerprint may begin with `<about>/`;
-- '!' is the byte after the space
local start = fingerprint ~= '' and fingerprint .. ' ' or about ~= '' and about .. '/' or ''
local from, last = stopped ~= '' and stopped or '-', '+'
if type_name ~= '' then
  from, last = stopped ~= '' and stopped or '[' .. type_name .. ' ' .. start, '(' .. type_name .. '!'
end
--- @include "redis/parts/now"
local of_about = about ~= '' and about .. '/' or ''
local kept_since = string.format('%015.0f', math.max(now_ms - keep_ms, 0))

local function begins_with(text, its_start)
  return string.sub(text, 1, #its_start) == its_start
end

-- by their bytes, as the index has them: Lua's own order is that of a language
local function is_before(text, other)
  for at = 1, math.min(#text, #other) do
    local byte, its_byte = string.byte(text, at), string.byte(other, at)
    if byte ~= its_byte then
      return byte < its_byte
    end
  end
  return #text < #other
end

-- the entries of a type that match stand side by side: where these begin, or the next type does
local function after(its_type, its_fingerprint)
  local is_ahead = is_before(its_fingerprint .. ' ', start)
  return is_ahead and '[' .. its_type .. ' ' .. start or '[' .. its_type .. '!'
end

-- the first of a range; what is no entry, as another program has written it, is removed
local SHAPE = '^[^ ]+ [^ ]+ ' .. string.rep('%d', 15) .. ' .'
local function first_of(...)
  local entry = redis.call('ZRANGE', index, ...)[1]
  while entry and not string.match(entry, SHAPE) do
    redis.call('ZREM', index, entry)
    entry = redis.call('ZRANGE', index, ...)[1]
  end
  return entry
end

local groups = {}
for _ = 1, most do
  local entry = redis.call('ZRANGE', index, from, last, 'BYLEX', 'LIMIT', 0, 1)[1]
  if not entry then
    return {'', groups}
  end
  local name, its_type, its_fingerprint = string.match(entry, '^(([^ ]+) ([^ ]+)) ')
  if name and begins_with(its_fingerprint .. ' ', start) then
    -- entries of jobs that have expired may still be there
    local first, past = '[' .. name .. ' ' .. kept_since, name .. '!'
    local oldest = begins_with(its_fingerprint, of_about) and first_of(first, '(' .. past, 'BYLEX', 'LIMIT', 0, 1)
    if oldest then
      local newest = first_of('(' .. past, first, 'BYLEX', 'REV', 'LIMIT', 0, 1)
      groups[#groups + 1] = {redis.call('ZLEXCOUNT', index, first, '(' .. past), oldest, newest}
    end
    from = '[' .. past
  elseif name then
    from = after(its_type, its_fingerprint)
  else
    redis.call('ZREM', index, entry) -- another program's
  end
end
return {from, groups}

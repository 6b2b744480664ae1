#!lua flags=allow-oom
-- Parks those of the jobs that are due first that are of a type, or of a group: many in one call, without a claim and a
-- finish.
-- KEYS  1 queue  2 running  3 paused  4 parked jobs of that type or group  5 the names of the groups
-- ARGV  1 the type  2 what follows it in the bodies of these jobs, '' for any  3 their group, '' for all of the type
--       4 how many jobs to look at  5 for how long the first of them is parked at least, in ms  6 how much longer each
--       that is looked at after it, in ms  7 why, as a job that is put back has it  8 channel of events
-- returns {how many were looked at, how many were parked}
--- @include "redis/parts/now"
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/publish_changes"
--- @include "leases/parts/park"
local PUT_BACK_KEPT_MS = 3600000
local queue, running, parked = KEYS[1], KEYS[2], KEYS[4]
local type_name, follows, group, looks, first_ms, apart_ms, note, channel = unpack(ARGV)

if redis.call('EXISTS', KEYS[3]) == 1 then
  return {0, 0}
end
local ids = redis.call('ZRANGEBYSCORE', queue, '-inf', string.format('%.0f', now_ms), 'LIMIT', 0, looks)
if #ids == 0 then
  return {0, 0}
end
local leases = {}
for index, id in ipairs(ids) do
  leases[index] = 'arq:in-progress:' .. id
end
local held, started = redis.call('MGET', unpack(leases)), redis.call('HMGET', running, unpack(ids))

-- what was started, or has a time to start by, is for a claim: that says what becomes of it
local function is_to_be_parked(index, body)
  if held[index] or started[index] then
    return false
  end
  local head = redis.pcall('GETRANGE', body, 0, 199)
  local named, rest = string.match(type(head) == 'string' and head or '', '^{"t":[%dnul]+,"f":"([^"\\]*)"(.*)$')
  return named == type_name and string.sub(rest, 1, #follows) == follows
    and not string.find(redis.call('GETRANGE', body, -40, -1), '"expires_at":%d+}$')
end

local entries, changes, last_ms = {}, {}, 0
for index, id in ipairs(ids) do
  if is_to_be_parked(index, 'arq:job:' .. id) then
    -- spread, so that they are not all due again at once
    local due_ms = parked_until(math.ceil(now_ms + first_ms + (index - 1) * apart_ms), now_ms)
    last_ms = math.max(last_ms, due_ms)
    entries[#entries + 1] = string.format('%.0f', due_ms)
    entries[#entries + 1] = id
    changes[#changes + 1] = 'deferred ' .. id
    redis.call('SET', 'errand:put-back:' .. id, note, 'PXAT', string.format('%.0f', due_ms + PUT_BACK_KEPT_MS))
  end
end
if #changes > 0 then
  if group ~= '' then
    call_or_reset(KEYS[5], 'SADD', group)
  end
  redis.call('ZADD', queue, 'XX', unpack(entries))
  call_or_reset(parked, 'ZREMRANGEBYSCORE', '-inf', string.format('(%.0f', now_ms))
  redis.call('ZADD', parked, unpack(entries))
  local left_ms = last_ms - now_ms + 1000
  if redis.call('PTTL', parked) < left_ms then
    redis.call('PEXPIRE', parked, string.format('%.0f', left_ms))
  end
  publish_changes(channel, changes)
end
return {#ids, #changes}

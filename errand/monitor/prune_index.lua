-- Takes entries without their results out of an index of ended jobs, as they were read: a later end stays listed.
-- KEYS  1 index
-- ARGV  of each entry: id, when it ended in ms
-- returns how many were taken out
local index, taken = KEYS[1], 0
for at = 1, #ARGV, 2 do
  local id, ended_ms = ARGV[at], tonumber(ARGV[at + 1])
  if tonumber(redis.call('ZSCORE', index, id) or -1) == ended_ms then
    taken = taken + redis.call('ZREM', index, id)
  end
end
return taken

#!lua flags=allow-oom
-- Removes entries whose results are gone from an index of ended jobs. An entry of a later end stays listed.
-- KEYS  1 index
-- ARGV  of each entry: id, when it ended in ms
-- returns how many were removed
local index, removed = KEYS[1], 0
for at = 1, #ARGV, 2 do
  local id, ended_ms = ARGV[at], tonumber(ARGV[at + 1])
  if tonumber(redis.call('ZSCORE', index, id) or -1) == ended_ms then
    removed = removed + redis.call('ZREM', index, id)
  end
end
return removed

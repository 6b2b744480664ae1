-- Endpoints have taken something: from now on they do not count as failing.
-- KEYS  1 since when each fails
-- ARGV  their ids
-- returns of those that did count, one after the other, the id and since when, in ms
--- @include "redis/parts/call_or_reset"
local failing, recovered = KEYS[1], {}

for _, id in ipairs(ARGV) do
  local since = call_or_reset(failing, 'HGET', id)
  if since then
    redis.call('HDEL', failing, id)
    table.insert(recovered, id)
    table.insert(recovered, since)
  end
end
return recovered

-- Takes over dead jobs whose hooks have not been called in time: their worker died before.
-- KEYS  1 dead jobs whose hooks are to be called
-- ARGV  1 how many at most  2 in how many ms another worker may take them over
-- returns {id, result or nil} of each
--- @include "redis/parts/now"
--- @include "redis/parts/call_or_reset"
local to_call, found = KEYS[1], {}
for _, id in ipairs(call_or_reset(to_call, 'ZRANGEBYSCORE', '-inf', string.format('%.0f', now_ms), 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', to_call, string.format('%.0f', now_ms + ARGV[2]), id)
  found[#found + 1] = {id, call_or_reset('arq:result:' .. id, 'GET')}
end
return found

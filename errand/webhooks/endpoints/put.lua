-- Keeps an endpoint, or removes it, if it is as the caller has seen it.
-- KEYS  1 the endpoint  2 the ids of all  3 the revision of all  4 its attempts, removed with it
-- ARGV  1 id  2 the record, '' to remove it  3 its new revision  4 the revision seen, '' where there was none
--       5 how many there may be
-- returns 'done', 'changed' (it is not as it was seen) or 'full'
--- @include "redis/parts/call_or_reset"
local endpoint, ids, all, attempts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, record, revision, seen, most = unpack(ARGV)

if (call_or_reset(endpoint, 'HGET', 'revision') or '') ~= seen then
  return 'changed'
elseif seen == '' and call_or_reset(ids, 'ZCARD') >= tonumber(most) then
  return 'full'
end
if record == '' then
  redis.call('DEL', endpoint, attempts)
  call_or_reset(ids, 'ZREM', id)
else
  redis.call('HSET', endpoint, 'record', record, 'revision', revision)
  call_or_reset(ids, 'ZADD', 0, id)
end
-- no number that goes up by one: after a failover that has lost changes, it would come again for others
redis.call('SET', all, revision)
return 'done'

-- Keeps an endpoint, or removes it, if it is as the caller has seen it.
-- KEYS  1 the endpoint  2 the ids of all  3 the revision of all  4 its attempts, removed with it
-- ARGV  1 id  2 the record, '' to remove it  3 its new revision  4 the revision seen, '' where there was none
--       5 how many there may be
-- returns 'done', 'changed' (it is not as it was seen) or 'full'
local endpoint, ids, all, attempts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, record, revision, seen, most = unpack(ARGV)

if (redis.call('HGET', endpoint, 'revision') or '') ~= seen then
  return 'changed'
elseif seen == '' and redis.call('ZCARD', ids) >= tonumber(most) then
  return 'full'
end
if record == '' then
  redis.call('DEL', endpoint, attempts)
  redis.call('ZREM', ids, id)
else
  redis.call('HSET', endpoint, 'record', record, 'revision', revision)
  redis.call('ZADD', ids, 0, id)
end
redis.call('INCR', all)
return 'done'

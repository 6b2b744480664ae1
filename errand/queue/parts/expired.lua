-- What an earlier job of an id has left that has expired, as a stock producer's may: a part of enqueue.lua.
-- Its tries and attempts are not the new one's.
local function forget_expired(running, id)
  redis.call('DEL', 'arq:retry:' .. id, 'errand:attempts:' .. id, 'errand:progress:' .. id)
  redis.call('DEL', 'errand:once:' .. id, 'errand:put-back:' .. id)
  redis.call('HDEL', running, id)
end

-- Reads or writes how far one effect of a job has come. Only the owner of the job's lease may write.
-- KEYS  1 running  2 lease  3 body  4 effects
-- ARGV  1 job id  2 token of the lease  3 name of the effect  4 its new state: '' to read, 'forget', or what to keep
-- returns {1 where the lease is the caller's, what is kept or false}
local running, lease, body, effects = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, token, name, state = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local holder = redis.call('GET', lease)
-- a lease that lapsed while Redis was away is still ours where nobody has claimed the job since
local begun = not holder and redis.call('EXISTS', body) == 1 and redis.call('HGET', running, id)
local owned = holder == token or (begun and string.sub(begun, -#token - 1) == ' ' .. token)
if owned and state == 'forget' then
  redis.call('HDEL', effects, name)
elseif owned and state ~= '' then
  redis.call('HSET', effects, name, state)
end
return {owned and 1 or 0, redis.call('HGET', effects, name)}

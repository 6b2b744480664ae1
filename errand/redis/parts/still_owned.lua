-- Whether a job whose lease has gone is its owner's all the same: a part of scripts that act for the owner of a lease.
-- A lease that lapsed while Redis was away is its owner's until another attempt is begun, a stock worker's included.
-- running, tries: the keys  id: the job's  token: the owner's
local function still_owned(running, id, token, tries)
  local begun = redis.call('HGET', running, id)
  return begun and string.sub(begun, -#token - 1) == ' ' .. token
    and string.match(begun, '^%d+') == redis.call('GET', tries)
end

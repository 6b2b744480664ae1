-- Whether a job is still its owner's: a part of scripts that act for the owner of a lease.
-- A lease that lapsed while Redis was away is its owner's until another attempt is started, a stock worker's included.
-- running, lease, tries: the keys  id: the job's  token: the owner's
-- returns whether it is, and whether its lease had lapsed
--- @include "redis/parts/call_or_reset"
local function still_owned(running, lease, tries, id, token)
  local holder = call_or_reset(lease, 'GET')
  if holder then
    return holder == token, false
  end
  local started = redis.call('HGET', running, id)
  local is_latest = started and string.sub(started, -#token - 1) == ' ' .. token
    and string.match(started, '^%d+') == call_or_reset(tries, 'GET')
  return is_latest, true
end

-- Wakes one idle worker; a part of the scripts that make jobs due. One token in the list `wake` is enough for that.
--- @include "redis/parts/call_or_reset"
local function wake_one(wake)
  if call_or_reset(wake, 'LLEN') == 0 then
    redis.call('LPUSH', wake, 1)
  end
end

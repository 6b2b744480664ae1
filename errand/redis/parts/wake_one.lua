-- Wakes one idle worker; a part of the scripts that make jobs due. One token in the list `wake` is enough for that.
local function wake_one(wake)
  if redis.call('LLEN', wake) == 0 then
    redis.call('LPUSH', wake, 1)
  end
end

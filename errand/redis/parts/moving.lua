-- Refuses what puts jobs or claims them, if those here are on their way to another server, or have gone there (errand/move):
-- a part of scripts. A process that was started before the move has not looked. To look costs no call of its own.

-- raises the error if they are; another program may have written anything there
local function refuse_if_moving()
  local moving = redis.pcall('GET', 'errand:move')
  if type(moving) == 'string' and string.find(moving, '"move_id"', 1, true) then
    error({err = 'ERRANDMOVE the jobs of this Redis are moved to another one: see what `errand doctor` says'})
  end
end

-- whether a job of those keys is there, waiting or ended
local function is_known(body, result)
  if redis.call('EXISTS', body, result, 'errand:move') == 0 then
    return false
  end
  refuse_if_moving()
  return redis.call('EXISTS', body, result) > 0
end

-- Which of some keys exist that mostly do not: a part of scripts that ask for all of them in one call then.
local function which_exist(...)
  local there = {}
  if redis.call('EXISTS', ...) > 0 then
    for _, key in ipairs({...}) do
      there[key] = redis.call('EXISTS', key) == 1
    end
  end
  return there
end

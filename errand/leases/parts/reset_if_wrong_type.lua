-- A command on a key that may not be what it should: a part of scripts.
-- a key of another kind than it should be is no reason to leave the jobs behind this one unclaimed
local function sound(key, command, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    redis.call('DEL', key)
    answer = redis.call(command, key, ...)
  end
  return answer
end

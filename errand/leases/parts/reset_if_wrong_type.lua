-- Calls a command on a key whose type may be wrong: a part of scripts.
-- deletes a key of a wrong type first: it must not keep the jobs behind this one from being claimed
local function call_or_reset(key, command, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    redis.call('DEL', key)
    answer = redis.call(command, key, ...)
  end
  return answer
end

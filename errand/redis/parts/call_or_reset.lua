-- Calls a command on a key that another program may have overwritten: a part of scripts.
-- deletes a key of a wrong type, or that is no number, first: it must not keep other jobs from what the script does
local function call_or_reset(key, command, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then
    return answer
  elseif string.find(answer.err, 'WRONGTYPE', 1, true) or string.find(answer.err, 'not an integer', 1, true) then
    redis.call('DEL', key)
    return redis.call(command, key, ...)
  end
  return error(answer.err)
end

-- Calls a command on a key that another program may have overwritten: a part of scripts.
-- deletes a key of a wrong type first, or that is no number, or at the end of what it can count: it must not keep other
-- jobs from what the script does
local RESET_AT = {'WRONGTYPE', 'not an integer', 'would overflow', 'the last possible ID'}

local function call_or_reset(key, command, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then
    return answer
  end
  for _, words in ipairs(RESET_AT) do
    if string.find(answer.err, words, 1, true) then
      redis.call('DEL', key)
      return redis.call(command, key, ...)
    end
  end
  return error(answer.err)
end

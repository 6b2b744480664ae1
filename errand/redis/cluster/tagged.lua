-- Lets a script run in a cluster as it does elsewhere: it knows keys and channels by their plain names, and what it
-- calls Redis with has the hash tag before them. Stands before each script that is loaded into a cluster.
-- KEYS  those of the script, with the tag; then one that exists nowhere (`cluster/tag.py` says what for)
-- returns nothing: the script follows
local TAG = '%TAG%'
local KEYS = (function(tagged)
  local plain = {}
  for at = 1, #tagged - 1 do
    plain[at] = string.sub(tagged[at], #TAG + 1)
  end
  return plain
end)(KEYS)
local redis = (function(real)
  local only_keys = {DEL = true, EXISTS = true, MGET = true}
  local function tagging(call)
    return function(command, key, ...)
      if key == nil then
        return call(command)
      elseif command == 'MEMORY' then -- what is asked of the key stands before it
        return call(command, key, TAG .. (...), select(2, ...))
      elseif not only_keys[command] or select('#', ...) == 0 then
        return call(command, TAG .. key, ...)
      end
      local names = {key, ...}
      for at = 1, #names do
        names[at] = TAG .. names[at]
      end
      return call(command, unpack(names))
    end
  end
  return setmetatable({call = tagging(real.call), pcall = tagging(real.pcall)}, {__index = real})
end)(redis)

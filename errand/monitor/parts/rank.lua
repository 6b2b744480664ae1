-- Finds the rank of a position in a queue or index: a part of timeline.lua.

-- compares bytes, as Redis does to order members: Lua compares by the server's locale
local function is_below(id, other)
  for at = 1, math.min(#id, #other) do
    local mine, its = string.byte(id, at), string.byte(other, at)
    if mine ~= its then
      return mine < its
    end
  end
  return #id < #other
end

-- how many members are at or above a position, found without a walk through the members of one moment
local function above(index, ms, id)
  local from = redis.call('ZCOUNT', index, '(' .. ms, '+inf')
  local to = from + redis.call('ZCOUNT', index, ms, ms)
  while from < to do
    local middle = math.floor((from + to) / 2)
    if is_below(redis.call('ZREVRANGE', index, middle, middle)[1], id) then
      to = middle
    else
      from = middle + 1
    end
  end
  return from
end

-- How far down an index a position stands: a part of timeline.lua.

-- by bytes, as Redis orders members: Lua's own order is that of the server's locale
local function is_below(id, other)
  for at = 1, math.min(#id, #other) do
    local mine, its = string.byte(id, at), string.byte(other, at)
    if mine ~= its then
      return mine < its
    end
  end
  return #id < #other
end

-- how many stand at or above a position: a thousand jobs of one moment are not walked through
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

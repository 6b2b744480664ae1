-- The indexes of dead jobs: a part of the scripts that end jobs as dead, replay or forget them.
-- `dead` has their entries (`dead_entry`) by when they died, `dead_by_group` the same ones by their bytes.
--- @include "redis/parts/call_or_reset"

-- an index keeps an entry for as long as the result is kept; each that comes takes two of the oldest along
local function add_dead(dead, dead_by_group, entry, now_ms, keep_ms)
  local forgotten = string.format('(%.0f', now_ms - keep_ms)
  local old = call_or_reset(dead, 'ZRANGEBYSCORE', '-inf', forgotten, 'LIMIT', 0, 2)
  redis.call('ZADD', dead, string.format('%.0f', now_ms), entry)
  call_or_reset(dead_by_group, 'ZADD', 0, entry)
  for _, index in ipairs({dead, dead_by_group}) do
    if #old > 0 then
      redis.call('ZREM', index, unpack(old))
    end
    if redis.call('PTTL', index) < tonumber(keep_ms) then
      redis.call('PEXPIRE', index, keep_ms)
    end
  end
end

-- `entry`: '' if the job had not died
local function remove_dead(dead, dead_by_group, entry)
  if entry ~= '' then
    redis.call('ZREM', dead, entry)
    redis.call('ZREM', dead_by_group, entry)
  end
end

-- The indexes of ended jobs: a part of the scripts that end jobs or take ends back.
-- A queue has a sorted set for each end and type: job ids by when they ended, in ms of the server's clock with the µs
-- behind the point. Their names, `<end>:<type>`, are in the set `names`, whose own name begins those of the indexes.
--- @include "redis/parts/call_or_reset"
local MOST_INDEXES = 256

-- of the answer to TIME; in µs no two calls are of one moment
local function moment(time)
  return string.format('%d.%03d', time[1] * 1000 + math.floor(time[2] / 1000), time[2] % 1000)
end

-- stock producers may send functions of any name: past so many indexes the jobs of further types share one for each end
local function has_room(names, name)
  if call_or_reset(names, 'SISMEMBER', name) == 0 and redis.call('SCARD', names) >= MOST_INDEXES then
    for _, known in ipairs(redis.call('SMEMBERS', names)) do
      if redis.call('EXISTS', names .. ':' .. known) == 0 then
        redis.call('SREM', names, known)
      end
    end
    return redis.call('SCARD', names) < MOST_INDEXES
  end
  return true
end

-- `entries`: score and id of each job, which ended just now; listed as long as their results are kept, '' for ever
local function list_ended(names, status, type, entries, now_ms, keep_ms)
  local name = status .. ':' .. type
  local left_ms = redis.call('PTTL', names .. ':' .. name)
  if left_ms == -2 then
    if not has_room(names, name) then
      name = status .. ':*'
      left_ms = redis.call('PTTL', names .. ':' .. name)
    end
    call_or_reset(names, 'SADD', name)
  end
  local index = names .. ':' .. name
  -- each that comes takes one of the oldest along that have expired
  if keep_ms ~= '' and left_ms > 0 then
    local forgotten = string.format('(%.0f', now_ms - keep_ms)
    local old = call_or_reset(index, 'ZRANGEBYSCORE', '-inf', forgotten, 'LIMIT', 0, #entries)
    if #old > 0 then
      redis.call('ZREMRANGEBYRANK', index, 0, #old - 1)
    end
  end
  for first = 1, #entries, 1000 do
    call_or_reset(index, 'ZADD', unpack(entries, first, math.min(first + 999, #entries)))
  end
  if keep_ms == '' then
    redis.call('PERSIST', index)
  elseif left_ms ~= -1 and left_ms < tonumber(keep_ms) then
    redis.call('PEXPIRE', index, keep_ms)
  end
end

-- `name`: `<end>:<type>`
local function unlist_ended(names, name, id)
  if redis.call('ZREM', names .. ':' .. name, id) == 0 then
    redis.call('ZREM', names .. ':' .. string.match(name, '^%a+') .. ':*', id)
  end
end

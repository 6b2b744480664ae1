-- Writes what became of claimed jobs. Only the owner of a lease has a say: the outcome of any other is dropped.
-- KEYS  1 queue  2 running  3 wake  4 cancels  5 dead  6 dead, by group  7 names of the indexes of ended jobs
-- ARGV  1 channel of events  2… of each job: id, token, what it is now (`<status>`, or `<status>:<type>` where it ends and
--       is to be listed), result, keep the result (ms, '' for ever, 0 not), due again (ms from now, '' not),
--       the attempt or, where it ends dead, its entry among the dead, keep the lease (ms or 0), give the try back (0 or 1)
-- returns of each job 1 where it was written, 0 where the lease was not the caller's
-- with ended_index.lua
-- with tell.lua
local queue, running, wake, cancels, dead, dead_by_group = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local names, channel = KEYS[7], ARGV[1]

local function ended(id, status, result, keep_ms)
  if result ~= '' and keep_ms == '' then
    redis.call('SET', 'arq:result:' .. id, result)
  elseif result ~= '' and keep_ms ~= '0' then
    redis.call('SET', 'arq:result:' .. id, result, 'PX', keep_ms)
  end
  redis.call('DEL', 'arq:job:' .. id, 'arq:retry:' .. id, 'errand:attempts:' .. id, 'errand:progress:' .. id)
  redis.call('ZREM', queue, id)
  -- a dead job may be replayed: what it has done is known as long as the job is
  if status ~= 'failed' or result == '' or keep_ms == '0' then
    redis.call('DEL', 'errand:once:' .. id)
  elseif keep_ms ~= '' then
    redis.call('PEXPIRE', 'errand:once:' .. id, keep_ms)
  end
end

-- the server's clock decides, so that a worker's skewed one does not
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now = string.format('%.0f', now_ms)

-- an index keeps an entry for as long as the result is kept; each that comes takes two of the oldest along
local function bury(entry, keep_ms)
  local forgotten = string.format('(%.0f', now_ms - keep_ms)
  local old = redis.call('ZRANGEBYSCORE', dead, '-inf', forgotten, 'LIMIT', 0, 2)
  redis.call('ZADD', dead, now, entry)
  redis.call('ZADD', dead_by_group, 0, entry)
  for _, index in ipairs({dead, dead_by_group}) do
    if #old > 0 then
      redis.call('ZREM', index, unpack(old))
    end
    if redis.call('PTTL', index) < tonumber(keep_ms) then
      redis.call('PEXPIRE', index, keep_ms)
    end
  end
end

-- jobs that end alike are listed together
local kinds, this_moment = {}, moment(time)

local function kind_of(name)
  local kind = kinds[name]
  if not kind then
    local status, type = string.match(name, '^([^:]+):?(.*)$')
    kind = {status = status, type = type, keep_ms = '1', entries = {}}
    kinds[name] = kind
  end
  return kind
end

local function list(kind, id, keep_ms)
  -- '' is for ever
  if keep_ms ~= kind.keep_ms and kind.keep_ms ~= '' and (keep_ms == '' or tonumber(keep_ms) > tonumber(kind.keep_ms)) then
    kind.keep_ms = keep_ms
  end
  local entries = kind.entries
  entries[#entries + 1] = this_moment
  entries[#entries + 1] = id
end

local function due_again(id, due_in_ms, attempt, give_back)
  redis.call('ZADD', queue, 'XX', string.format('%.0f', now_ms + due_in_ms), id)
  -- arq lets it expire after a day: a retry may be due later than that
  redis.call('PERSIST', 'arq:retry:' .. id)
  if attempt ~= '' then
    redis.call('RPUSH', 'errand:attempts:' .. id, attempt)
  end
  if give_back == '1' then
    redis.call('DECR', 'arq:retry:' .. id)
  end
end

-- a lease that lapsed while Redis was away is its owner's until another attempt is begun, a stock worker's included
local function still_owned(id, token)
  local begun = redis.call('HGET', running, id)
  return begun and string.sub(begun, -#token - 1) == ' ' .. token
    and string.match(begun, '^%d+') == redis.call('GET', 'arq:retry:' .. id)
end

local any_cancels = redis.call('EXISTS', cancels) == 1
local answers, changes, handed_back = {}, {}, false
for at = 2, #ARGV, 9 do
  local id, token, name, result, keep_ms, due_in_ms, record, keep_lease_ms, give_back = unpack(ARGV, at, at + 8)
  local lease = 'arq:in-progress:' .. id
  local holder = redis.call('GET', lease)
  local owned = holder == token or (not holder and still_owned(id, token))
  answers[#answers + 1] = owned and 1 or 0
  if owned then
    local kind = kind_of(name)
    local asked = any_cancels and redis.call('HGET', cancels, id)
    if asked then
      redis.call('HDEL', cancels, id)
    end
    if asked == token and due_in_ms ~= '' then
      -- asked to end while it ran, and did not hear of it: the next claim ends it
      redis.call('HSET', cancels, id, '*')
      due_in_ms = '0'
    end
    if due_in_ms == '' then
      ended(id, kind.status, result, keep_ms)
      if record ~= '' then
        bury(record, keep_ms)
      end
      if kind.type ~= '' and result ~= '' and keep_ms ~= '0' then
        list(kind, id, keep_ms)
      end
    else
      due_again(id, due_in_ms, record, give_back)
      handed_back = handed_back or due_in_ms == '0'
    end
    if keep_lease_ms == '0' then
      redis.call('DEL', lease)
    else
      -- nobody's token: this outcome, told once more, must not count again
      redis.call('SET', lease, 'kept', 'PX', keep_lease_ms)
    end
    redis.call('HDEL', running, id)
    changes[#changes + 1] = kind.status .. ' ' .. id
  end
end
for _, kind in pairs(kinds) do
  if #kind.entries > 0 then
    list_ended(names, kind.status, kind.type, kind.entries, now_ms, kind.keep_ms)
  end
end
-- what a worker gives up at once is for another, which may be asleep
if handed_back and redis.call('LLEN', wake) == 0 then
  redis.call('LPUSH', wake, 1)
end
if #changes > 0 then
  tell(channel, changes)
end
return answers

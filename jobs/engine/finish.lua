-- Writes what became of claimed jobs. Only the owner of a lease has a say: the outcome of any other is dropped.
-- KEYS  1 queue  2 running  3 wake  4 cancels  5 dead  6 dead, by group
-- ARGV  1 channel of events  2… of each job: id, token, status, result, keep the result (ms, '' for ever, 0 not),
--       due again (ms from now, '' not), the attempt or, where it ends dead, its entry among the dead,
--       keep the lease (ms or 0), give the try back (0 or 1)
-- returns of each job 1 where it was written, 0 where the lease was not the caller's
local queue, running, wake, cancels, dead, dead_by_group = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local channel = ARGV[1]

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

-- an index keeps an entry for as long as the result is kept; each that comes takes two of the oldest along
local function bury(entry, keep_ms)
  local forgotten = string.format('(%.0f', now_ms - keep_ms)
  local old = redis.call('ZRANGEBYSCORE', dead, '-inf', forgotten, 'LIMIT', 0, 2)
  redis.call('ZADD', dead, string.format('%.0f', now_ms), entry)
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
  local id, token, status, result, keep_ms, due_in_ms, record, keep_lease_ms, give_back = unpack(ARGV, at, at + 8)
  local lease = 'arq:in-progress:' .. id
  local holder = redis.call('GET', lease)
  local owned = holder == token or (not holder and still_owned(id, token))
  answers[#answers + 1] = owned and 1 or 0
  if owned then
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
      ended(id, status, result, keep_ms)
      if record ~= '' then
        bury(record, keep_ms)
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
    changes[#changes + 1] = status .. ' ' .. id
  end
end
-- what a worker gives up at once is for another, which may be asleep
if handed_back and redis.call('LLEN', wake) == 0 then
  redis.call('LPUSH', wake, 1)
end
if #changes > 0 then
  redis.call('PUBLISH', channel, table.concat(changes, '\n'))
end
return answers

-- Writes what became of claimed jobs. Only the owner of a lease has a say: the outcome of any other is dropped.
-- KEYS  1 queue  2 running
-- ARGV  1 channel of events  2… of each job: id, token, status, result, keep the result (ms, '' for ever, 0 not),
--       due again (ms since the epoch, '' not), attempt, keep the lease (ms or 0), give the try back (0 or 1)
-- returns of each job 1 where it was written, 0 where the lease was not the caller's
local queue, running, channel = KEYS[1], KEYS[2], ARGV[1]

local function ended(id, result, keep_ms)
  if result ~= '' and keep_ms == '' then
    redis.call('SET', 'arq:result:' .. id, result)
  elseif result ~= '' and keep_ms ~= '0' then
    redis.call('SET', 'arq:result:' .. id, result, 'PX', keep_ms)
  end
  redis.call('DEL', 'arq:job:' .. id, 'arq:retry:' .. id, 'errand:attempts:' .. id, 'errand:progress:' .. id)
  redis.call('ZREM', queue, id)
end

local function due_again(id, due, attempt, give_back)
  redis.call('ZADD', queue, 'XX', due, id)
  -- arq lets both expire after a day: a retry may be due later than that
  redis.call('PERSIST', 'arq:job:' .. id)
  redis.call('PERSIST', 'arq:retry:' .. id)
  if attempt ~= '' then
    redis.call('RPUSH', 'errand:attempts:' .. id, attempt)
  end
  if give_back == '1' then
    redis.call('DECR', 'arq:retry:' .. id)
  end
end

local answers, changes = {}, {}
for at = 2, #ARGV, 9 do
  local id, token, status = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local lease = 'arq:in-progress:' .. id
  local owned = redis.call('GET', lease) == token
  answers[#answers + 1] = owned and 1 or 0
  if owned then
    if ARGV[at + 5] == '' then
      ended(id, ARGV[at + 3], ARGV[at + 4])
    else
      due_again(id, ARGV[at + 5], ARGV[at + 6], ARGV[at + 8])
    end
    if ARGV[at + 7] == '0' then
      redis.call('DEL', lease)
    else
      redis.call('PEXPIRE', lease, ARGV[at + 7])
    end
    redis.call('HDEL', running, id)
    changes[#changes + 1] = status .. ' ' .. id
  end
end
if #changes > 0 then
  redis.call('PUBLISH', channel, table.concat(changes, '\n'))
end
return answers

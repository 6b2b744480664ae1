-- Ends a job that has not started as cancelled.
-- KEYS  1 queue  2 running  3 body  4 result  5 lease  6 try counter  7 attempts  8 progress  9 once
-- ARGV  1 job id  2 serialised outcome  3 how long to keep it, in ms  4 channel of events
-- returns 'cancelled', 'in_progress', 'ended' or 'unknown'
local queue, running, body, result, lease = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local tries, attempts, progress, once = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local id, outcome, keep_ms, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('EXISTS', result) == 1 then
  return 'ended'
elseif redis.call('EXISTS', lease) == 1 then
  return 'in_progress'
elseif redis.call('EXISTS', body) == 0 or outcome == '' then
  return 'unknown'
end

-- a stock claim under way WATCHes the lease: touching it makes that claim give up
redis.call('SET', lease, 'cancelled')
redis.call('DEL', lease, body, tries, attempts, progress, once)
redis.call('ZREM', queue, id)
redis.call('HDEL', running, id)
redis.call('SET', result, outcome, 'PX', keep_ms)
redis.call('PUBLISH', channel, 'cancelled ' .. id)
return 'cancelled'

-- Ends a job that has not started as cancelled.
-- KEYS  1 body  2 result  3 queue  4 lease (arq's in-progress)  5 try counter  6 attempts
-- ARGV  1 job id  2 serialised outcome  3 how long to keep it, in ms  4 channel that hears of the end
-- returns 'cancelled', 'in_progress', 'ended' or 'unknown'
local body, result, queue, lease, tries, attempts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, outcome, keep_ms, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('EXISTS', result) == 1 then
  return 'ended'
elseif redis.call('EXISTS', lease) == 1 then
  return 'in_progress'
elseif redis.call('EXISTS', body) == 0 then
  return 'unknown'
end

-- a stock claim under way WATCHes the lease: touching it makes that claim give up
redis.call('SET', lease, 'cancelled')
redis.call('DEL', lease, body, tries)
redis.call('ZREM', queue, id)
redis.call('SET', result, outcome, 'PX', keep_ms)
redis.call('PEXPIRE', attempts, keep_ms)
redis.call('PUBLISH', channel, 'cancelled')
return 'cancelled'

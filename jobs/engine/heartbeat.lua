-- Says that a worker lives, and renews the leases of the jobs it runs.
-- KEYS  1 workers  2… leases (arq's in-progress)
-- ARGV  1 worker name  2 lease in ms  3 when to forget a silent worker, in ms
-- returns how many leases were still there to renew
local workers = KEYS[1]
local worker, lease_ms, forget_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', workers, string.format('%d', now_ms), worker)
redis.call('ZREMRANGEBYSCORE', workers, '-inf', string.format('(%d', now_ms - forget_ms))

local renewed = 0
for index = 2, #KEYS do
  renewed = renewed + redis.call('PEXPIRE', KEYS[index], lease_ms)
end
return renewed

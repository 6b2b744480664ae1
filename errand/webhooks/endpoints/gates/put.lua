-- The deliveries of a message to ordered endpoints are put: those behind it know what they wait for, whether or not a
-- worker has looked at it.
-- KEYS  for each endpoint its line, and the jobs in it (line.lua)
-- ARGV  1 message id  2 how long a line without news is kept, in ms  then for each endpoint the job
-- returns for how many it was noted: one that has left its line, or was seen there, is left alone
--- @include "redis/parts/call_or_reset"
local message, keep_ms, noted = ARGV[1], ARGV[2], 0

for at = 1, #KEYS, 2 do
  local line, jobs = KEYS[at], KEYS[at + 1]
  local known = call_or_reset(jobs, 'HGET', message)
  local is_seen = known and not string.match(known, '^@')
  if call_or_reset(line, 'ZSCORE', message) and not is_seen then
    redis.call('HSET', jobs, message, ARGV[2 + (at + 1) / 2])
    redis.call('PEXPIRE', jobs, keep_ms)
    noted = noted + 1
  end
end
return noted

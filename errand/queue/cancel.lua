#!lua flags=allow-oom
-- Ends a job that has not started as cancelled; of one that runs, notifies its owner.
-- KEYS  1 queue  2 running  3 body  4 result  5 lease  6 try counter  7 attempts  8 progress  9 once  10 cancels
--       11 names of the indexes of ended jobs  12 needed  13 needed, of the queue of the last step of its chain
-- ARGV  1 job id  2 serialised outcome  3 how long to keep it, in ms  4 channel of events  5 channel of cancel calls
--       6 leave one that runs alone (0 or 1)  7 its type as the lists have it  8 the revision that it must have, or ''
--       9 when the caller waits no longer, in ms since the epoch, or ''  10 the last step of its chain, or ''
-- returns 'cancelled', 'cancelling' (it runs), 'stock' (a stock worker runs it), 'running' (left alone), 'changed'
--       (it has another revision), 'late' (the caller has given up), 'ended' or 'unknown'
--- @include "redis/parts/ended_index"
--- @include "redis/parts/call_or_reset"
--- @include "redis/parts/publish_changes"
--- @include "redis/parts/needs"
--- @include "redis/parts/children"
local queue, running, body, result, lease = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local tries, attempts, progress, once = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local cancels, calls = KEYS[10], ARGV[5]
local id, outcome, keep_ms, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

--- @include "queue/parts/revision"
--- @include "redis/parts/now"

if now_ms > (tonumber(ARGV[9]) or now_ms) then
  return 'late'
end
if redis.call('EXISTS', result) == 1 then
  return 'ended'
end
local holder = call_or_reset(lease, 'GET')
if holder and ARGV[6] == '1' then
  return 'running'
elseif not as_seen(ARGV[8], id, {
  queue = queue, running = running, lease = lease, tries = tries, attempts = attempts, progress = progress,
}) then
  return 'changed'
elseif holder == '1' then
  return 'stock'
elseif holder and holder ~= 'kept' then
  -- the hash is the promise, the message the hint
  redis.call('HSET', cancels, id, holder)
  redis.call('PUBLISH', calls, id)
  return 'cancelling'
elseif redis.call('EXISTS', body) == 0 or outcome == '' then
  return 'unknown'
end

-- a stock claim under way WATCHes the lease: touching it makes that claim give up
redis.call('SET', lease, 'cancelled')
redis.call('DEL', lease, body, tries, attempts, progress, 'errand:put-back:' .. id)
redis.call('PEXPIRE', once, keep_ms) -- it may be replayed, and must know what it has done
redis.call('ZREM', queue, id)
redis.call('HDEL', running, id)
redis.call('HDEL', cancels, id)
redis.call('SET', result, outcome, 'PX', keep_ms)
list_ended(KEYS[11], 'cancelled', ARGV[7], {moment(time), id}, now_ms, keep_ms)
publish_changes(channel, {'cancelled ' .. id})
note_end(KEYS[12], id, 'cancelled', outcome, keep_ms, now_ms)
note_end(KEYS[13], ARGV[10], 'cancelled', outcome, keep_ms, now_ms)
cancel_children(id, now_ms)
redis.call('PEXPIRE', 'errand:needs:' .. id, keep_ms)
keep_children(id, keep_ms)
return 'cancelled'

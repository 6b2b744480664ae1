-- Whether the server's clock was set forward: a part of scripts that judge leases, or renew them.
-- A key's expiry is a time of day, so that all leases lapse at such a step though their owners live. The worker knows by
-- its own clock, which nobody sets, for how long it has not reported: if the server has counted more, the step was made.

-- true for a lease's time from then on, in which each owner renews what it holds
-- is_marked: whether the mark is there  since_ms: since the worker's last report, '' if it has made none
-- slack_ms: how long the call may have been under way
local function clock_was_set(is_marked, mark, workers, worker, since_ms, slack_ms, now_ms, lease_ms)
  if is_marked then
    return true
  end
  local reported = since_ms ~= '' and redis.call('ZSCORE', workers, worker)
  if not reported or now_ms - reported <= since_ms + slack_ms then
    return false
  end
  redis.call('SET', mark, 1, 'PX', lease_ms)
  return true
end

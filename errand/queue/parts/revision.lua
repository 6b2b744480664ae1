-- A part of scripts that act on a job only if it is as their caller has seen it.
-- as_seen(seen, id, names): whether `seen`, '' for however it is, is the revision that `snapshot.revision_of` makes
-- names: the keys {queue, running, lease, tries, attempts, progress}
-- Of a job that runs the queue holds the end of its lease, which each heartbeat moves: its attempt counts instead.
local function as_seen(seen, id, names)
  if seen == '' then
    return true
  end
  local position = redis.call('EXISTS', names.lease) == 1 and redis.call('HGET', names.running, id)
  if not position then
    position = string.format('%.0f', redis.call('ZSCORE', names.queue, id) or 0)
  end
  local tries, attempts = redis.call('GET', names.tries) or '', redis.call('LLEN', names.attempts)
  local progress = redis.call('GET', names.progress) or ''
  return redis.sha1hex(table.concat({position, tries, attempts, progress}, '\n')) == seen
end

-- Publishes changes of jobs; a part of each script that makes some. If somebody watches the queue, they are kept as
-- well, each as {status, id, type, attempt, more}, for clients that come back and ask what they have missed.
-- channel: the queue's channel of events, by whose name its other keys are known  changes: a list of `status id`
-- more: what a change of `progress` says, as JSON
--- @include "redis/parts/call_or_reset"
local function publish_changes(channel, changes, more)
  local queue = string.sub(channel, 1, -#'events' - 1)
  if redis.call('EXISTS', queue .. 'watched') == 0 then
    return redis.call('PUBLISH', channel, table.concat(changes, '\n'))
  end
  local history, lines = queue .. 'history', {'@' .. channel}
  for _, change in ipairs(changes) do
    local status, id = string.match(change, '^(%S+) (.*)$')
    -- the beginning of what is kept of a job, running or ended, has its type; a stock producer's may be unreadable
    local kept = redis.pcall('GETRANGE', 'arq:job:' .. id, 0, 199)
    if kept == '' then
      kept = redis.pcall('GETRANGE', 'arq:result:' .. id, 0, 199)
    end
    local try, type_name = string.match(type(kept) == 'string' and kept or '', '^{"t":([%dnul]+),"f":"([^"\\]*)"')
    local tries = redis.pcall('GET', 'arq:retry:' .. id)
    local attempt = tonumber(try) or (type(tries) == 'string' and tonumber(tries)) or 0
    -- another program may have written what is a number to Lua and none in JSON: `inf`, `nan`
    attempt = attempt >= 0 and attempt < 1e9 and attempt or 0
    local line = cjson.encode({status, id, type_name or '', attempt, more})
    -- a script that fails here has written already, and must not be made a second time
    local at = call_or_reset(history, 'XADD', 'MAXLEN', '~', 20000, '*', 'change', line)
    lines[#lines + 1] = at .. ' ' .. line
  end
  redis.call('PEXPIRE', history, 300000)
  redis.call('PUBLISH', channel, table.concat(lines, '\n'))
end

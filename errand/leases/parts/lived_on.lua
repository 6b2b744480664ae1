-- The owner of a lost lease writes again, so it was paused or cut off and did not end: the attempt that it lost says
-- nothing against the job. A part of scripts that the owner of a lease calls.
local function note_lived_on(id, token)
  local name, worker = 'errand:attempts:' .. id, string.match(token, '^(.*)#%d+$')
  local kept = redis.pcall('LRANGE', name, 0, -1)
  for index, record in ipairs(kept) do
    local lost = worker and string.find(record, 'WorkerLost', 1, true) and string.find(record, worker, 1, true)
    local readable, attempt = pcall(cjson.decode, lost and record or '')
    if readable and attempt.outcome == 'lost' and attempt.worker == worker then
      attempt.error = {type = 'LeaseLost', message = 'the worker lost its lease, paused or cut off, and lived on'}
      redis.call('LSET', name, index - 1, cjson.encode(attempt))
    end
  end
end

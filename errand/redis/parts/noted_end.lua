-- How the end of a job is noted for those that wait for it: a part of the scripts that put jobs, and that end them.

local function read_result(record)
  local readable, read = pcall(cjson.decode, record)
  return readable and type(read) == 'table' and read or {}
end

-- why that job did not succeed, as a result says it, without its args and all else: it may be large, and very many jobs
-- may wait for it
local function why_not(read)
  local failure = type(read.r) == 'table' and read.r or {}
  local fault = type(failure['$error']) == 'table' and failure['$error']
  if not fault then
    return ''
  end
  local name = type(read.f) == 'string' and read.f or nil
  local said = {type = tostring(fault.type), message = tostring(fault.message)}
  return cjson.encode({f = name, s = false, r = {['$error'] = said, cancelled = failure.cancelled == true}})
end

-- an end as it is noted for a job that waits; `record`: the result, if that job is given it
local function noted(known, record)
  return known.status .. ' ' .. (record or known.why)
end

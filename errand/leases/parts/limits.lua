-- Whether the limits of its type let a job start now: a part of claim.lua.
-- A limit counts under a name, `<type>:<limit>`, with a digest of the key behind it if jobs of one key count together.
-- `slots:<name>` is the set of the jobs that run, `starts:<name>` the list of the latest starts, in ms, newest first.
local WHOLE_BYTES = 2048 -- of a body that is read in one call; a longer one is looked at for its type first
-- of longer ones that one call reads, or so: a mebibyte takes Redis five milliseconds, and it answers nobody meanwhile
local MOST_BYTES_READ = 16 * 1024 * 1024
local TYPE_IN_HEAD = '^{%s*"t":%s*[%dnul]+,%s*"f":%s*"([^"\\]*)"'

-- a double does not have all digits of a long number; one of hundreds of digits is infinite for it, and has no JSON then
local function text_of_number(value, name, body)
  if math.abs(value) >= 2 ^ 53 then
    return string.match(body, '"' .. name .. '":%s*(%-?[%d.eE+-]+)') or string.format('%.0f', value)
  end
  return value % 1 == 0 and string.format('%.0f', value) or tostring(value)
end

local function text_of_value(value)
  local has_json, text = pcall(cjson.encode, value)
  return has_json and text or 'a value without JSON'
end

-- `part`: {text} as it stands, or {names, default}: an arg by its names
local function text_of(part, args, body)
  for _, name in ipairs(part.names or {}) do
    local value = args[name]
    if type(value) == 'number' then
      return text_of_number(value, name, body)
    elseif value ~= nil then
      return type(value) == 'string' and value or text_of_value(value)
    end
  end
  return part.text or part.default
end

local function name_of(limit, args, body)
  local texts = {}
  for number, part in ipairs(limit.key or {}) do
    texts[number] = text_of(part, args, body)
  end
  return limit.key and limit.name .. ':' .. redis.sha1hex(table.concat(texts)) or limit.name
end

local function whole_body(limits, id)
  local body = redis.call('GET', 'arq:job:' .. id)
  limits.bytes_read = limits.bytes_read + #body
  return body
end

-- the job and the names under which its limits count it; nil if it has none, or will end without a start
-- nil and true if this call has read so much that a later one is to look at it
local function limited_job(limits, id)
  local body = redis.pcall('GETRANGE', 'arq:job:' .. id, 0, WHOLE_BYTES - 1)
  local type_name = type(body) == 'string' and string.match(body, TYPE_IN_HEAD)
  local of_type = type_name and limits.of[type_name]
  if not of_type then
    return nil
  end
  if #body == WHOLE_BYTES and limits.bytes_read >= MOST_BYTES_READ then
    return nil, true
  end
  body = #body < WHOLE_BYTES and body or whole_body(limits, id)
  local readable, record = pcall(cjson.decode, body)
  if not readable or type(record.k) ~= 'table' then
    return nil
  end
  local args = next(record.k) == nil and type(record.a) == 'table' and type(record.a[1]) == 'table' and record.a[1] or record.k
  local job = {id = id, type = type_name, limits = of_type, names = {}}
  job.expires_ms = tonumber(record.expires_at)
  job.priority = string.match(tostring(record.priority), '^[1-9]$') and tonumber(record.priority) or 0
  for number, limit in ipairs(of_type) do
    job.names[number] = name_of(limit, args, body)
  end
  return (job.expires_ms or math.huge) > limits.now_ms and job or nil
end

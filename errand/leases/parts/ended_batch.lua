-- Gathers the jobs that end in one call by how they end: a part of finish.lua. Jobs that end alike are listed by one
-- command.
--- @include "redis/parts/ended_index"
local kinds = {}

-- `name`: `<status>`, or `<status>:<type>` if the job ends and is to be listed
local function kind_of(name)
  local kind = kinds[name]
  if not kind then
    local status, type = string.match(name, '^([^:]+):?(.*)$')
    kind = {status = status, type = type, keep_ms = '1', entries = {}}
    kinds[name] = kind
  end
  return kind
end

-- `moment`: when the job ended, as the function `moment` writes it; `keep_ms`: how long its result is kept, '' for ever
local function gather(kind, id, moment, keep_ms)
  if keep_ms ~= kind.keep_ms and kind.keep_ms ~= '' and (keep_ms == '' or tonumber(keep_ms) > tonumber(kind.keep_ms)) then
    kind.keep_ms = keep_ms
  end
  local entries = kind.entries
  entries[#entries + 1] = moment
  entries[#entries + 1] = id
end

local function list_gathered(names, now_ms)
  for _, kind in pairs(kinds) do
    if #kind.entries > 0 then
      list_ended(names, kind.status, kind.type, kind.entries, now_ms, kind.keep_ms)
    end
  end
end

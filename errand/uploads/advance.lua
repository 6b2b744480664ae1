-- Notes one more part of an upload, if the upload is as far as the part's sender saw it.
-- KEYS  1 the upload
-- ARGV  1 the offset seen  2 the offset behind the part  3 the part's name, '' if it needs none  4 how many parts there may be
-- returns 'done', 'gone', 'moved' (another part came first) or 'full'
local upload = KEYS[1]
local seen, behind, name, most = unpack(ARGV)

local offset = redis.call('HGET', upload, 'offset')
if not offset then
  return 'gone'
elseif offset ~= seen then
  return 'moved'
elseif name ~= '' and redis.call('HLEN', upload) >= tonumber(most) then
  return 'full'
end
redis.call('HSET', upload, 'offset', behind)
if name ~= '' then
  redis.call('HSET', upload, 'part:' .. seen, name)
end
return 'done'

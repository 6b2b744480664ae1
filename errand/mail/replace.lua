-- Replaces what is known of a letter, if it is as the caller has seen it.
-- KEYS  1 the letter's key
-- ARGV  1 what was seen, '' if there was none  2 what takes its place  3 how long that is kept, in ms
-- returns 1 if it was replaced
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1

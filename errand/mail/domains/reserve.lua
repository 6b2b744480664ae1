-- Gives a letter the next free moment of its recipient's domain.
-- KEYS  1 when the domain's next letter may go, and when that was written, in us since the epoch; absent if that is now
-- ARGV  1 how many us lie between two letters  2 how many may go at once after a rest
-- returns in how many ms this letter may go
--- @include "redis/parts/call_or_reset"
local next_letter = KEYS[1]
local interval_us, burst = tonumber(ARGV[1]), tonumber(ARGV[2])

-- the server's clock decides, so that all workers share one
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]

local next_us, written_us = string.match(call_or_reset(next_letter, 'GET') or '', '^(%d+) ?(%d*)$')
-- the clock may have been set back since: it must not hold up the letters for so long
local set_back_us = math.max((tonumber(written_us) or now_us) - now_us, 0)
local mine_us = math.max((tonumber(next_us) or 0) - set_back_us, now_us - (burst - 1) * interval_us)
local kept_ms = math.ceil((mine_us + burst * interval_us - now_us) / 1000) + 1
redis.call('SET', next_letter, string.format('%.0f %.0f', mine_us + interval_us, now_us), 'PX', kept_ms)
return math.max(math.ceil((mine_us - now_us) / 1000), 0)

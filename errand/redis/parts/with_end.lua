-- The time by which a job must have started, in its body: a part of scripts that put jobs. By this server's clock, which
-- also judges it.
local LATEST_MS = 253402300799000

local function with_end(job, now_ms, expires_in_ms)
  local expires_ms = math.min(now_ms + expires_in_ms, LATEST_MS)
  return string.sub(job, 1, -2) .. string.format(',"expires_at":%.0f}', expires_ms)
end

-- Until when a job is parked: a part of scripts that park some. Of a million parked jobs some hundreds a second are due
-- again: those of a tenth of a second come together, so that a worker claims them by ten calls and not by hundreds.
local LONG_MS, TOGETHER_MS = 10000, 100

local function parked_until(due_ms, now_ms)
  return due_ms - now_ms < LONG_MS and due_ms or due_ms - due_ms % TOGETHER_MS
end

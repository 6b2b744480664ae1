-- Counts when the dead jobs of some groups died, in steps of equal length, without looking at each job.
-- KEYS  1 dead, by group
-- ARGV  1 how many steps; then of each group: its name, when its first step begins in ms, how long a step is in ms
-- returns the counts of each group, the oldest step first; the last step has no end
local index, steps = KEYS[1], tonumber(ARGV[1])

local function count(name, begins_ms, ends_ms)
  local past = ends_ms and string.format('(%s %015.0f', name, ends_ms) or '(' .. name .. '!'
  return redis.call('ZLEXCOUNT', index, string.format('[%s %015.0f', name, begins_ms), past)
end

local groups = {}
for at = 2, #ARGV, 3 do
  local name, first_ms, step_ms = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local counts = {}
  for step = 1, steps do
    local begins_ms = first_ms + (step - 1) * step_ms
    counts[step] = count(name, begins_ms, step < steps and begins_ms + step_ms or nil)
  end
  groups[#groups + 1] = counts
end
return groups

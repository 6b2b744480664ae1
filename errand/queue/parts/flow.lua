-- What a job that is put has to do with others: a part of enqueue.lua.
--- @include "redis/parts/held"
--- @include "redis/parts/children"

-- `flow`: {queue, parent or false, needs or false}: its own queue, the job that it is listed as a child of, what it waits for

-- the first of the jobs that it is to wait for that is not known
local function unknown_need(needs)
  for _, job in ipairs(needs and not needs.children and needs.jobs or {}) do
    if redis.call('EXISTS', 'arq:job:' .. job[1], 'arq:result:' .. job[1]) == 0 then
      return job[1]
    end
  end
end

local function begin_flow(flow, id, now_ms)
  if flow.parent then
    add_child(flow.parent, flow.queue, id, now_ms)
  end
  if flow.needs then
    hold(id, flow.needs, now_ms)
  end
end

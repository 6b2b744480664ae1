#!lua flags=allow-oom
-- Writes what became of claimed jobs. Only the owner of a lease has a say: the outcome of any other is dropped.
-- KEYS  1 queue  2 running  3 wake  4 cancels  5 dead  6 dead, by group  7 names of the indexes of ended jobs  8 needed
-- ARGV  1 channel of events  2 what the ends mean for others, as JSON, or ''  3… of each job a FinishRow (errand/leases/rows.py)
-- returns of each job 1 if it was written, 0 if the lease was not the caller's
--- @include "redis/parts/now"
--- @include "redis/parts/which_exist"
--- @include "redis/parts/still_owned"
--- @include "leases/parts/lived_on"
--- @include "leases/parts/outcome"
--- @include "leases/parts/park"
--- @include "redis/parts/dead_index"
--- @include "redis/parts/ended_index"
--- @include "leases/parts/ended_batch"
--- @include "redis/parts/wake_one"
--- @include "redis/parts/publish_changes"
--- @include "leases/parts/started" as of_limits
--- @include "leases/parts/go_on" as of_others
local queue, running, wake, cancels, dead, dead_by_group, names, needed = unpack(KEYS)
local channel, this_moment, answers, changes, handed_back = ARGV[1], moment(time), {}, {}, false
local prefix = string.sub(channel, 1, -#'events' - 1)
local there = which_exist(cancels, needed, prefix .. 'held-slots')
local limits, others = there[prefix .. 'held-slots'] and of_limits(), (there[needed] or ARGV[2] ~= '') and of_others()
local parts = others and others.parts_of(ARGV[2])
needed = there[needed] and needed
for at = 3, #ARGV, 9 do
  local id, token, name, result, keep_ms, due_in_ms, record, keep_lease_ms, give_back = unpack(ARGV, at, at + 8)
  local lease = 'arq:in-progress:' .. id
  local owned = still_owned(running, lease, 'arq:retry:' .. id, id, token)
  answers[#answers + 1] = owned and 1 or 0
  if owned then
    local kind = kind_of(name)
    due_in_ms = there[cancels] and due_unless_cancelled(cancels, id, token, due_in_ms) or due_in_ms
    if due_in_ms == '' then
      ended(id, kind.status, result, keep_ms, lease)
      if others or limits or record ~= '' then
        leave(queue, running) -- what follows may put a job of its id, or fail at a bad key
      end
      if others then
        others.go_on(parts and parts[#answers], needed, id, kind.status, result, keep_ms, now_ms)
      end
      if record ~= '' then
        add_dead(dead, dead_by_group, record, now_ms, keep_ms)
      end
      if kind.type ~= '' and result ~= '' and keep_ms ~= '0' then
        gather(kind, id, this_moment, keep_ms)
      end
    else
      local due_ms, parked = now_ms + due_in_ms, kind.type ~= '' and due_in_ms ~= '0'
      due_ms = parked and parked_until(due_ms, now_ms) or due_ms
      due_again(queue, running, id, due_ms, record, give_back, lease)
      handed_back = handed_back or due_in_ms < '1' -- 0, or before now
      if parked then
        park(channel, kind.type, id, due_ms, now_ms)
      end
    end
    if keep_lease_ms ~= '0' then
      redis.call('SET', lease, 'kept', 'PX', keep_lease_ms) -- nobody's token: this outcome, sent again, must not count
    end
    handed_back = limits and limits.free_slots(prefix, id, now_ms) or handed_back
    changes[#changes + 1] = kind.status .. ' ' .. id
  else
    note_lived_on(id, token)
  end
end
leave(queue, running)
list_gathered(names, now_ms)
-- what a worker gives up at once, or what waited for this end, is for another, which may be asleep
if handed_back then
  wake_one(wake)
end
if #changes > 0 then
  publish_changes(channel, changes)
end
return answers

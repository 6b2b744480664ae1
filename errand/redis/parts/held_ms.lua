-- The score in its queue of a job that waits for others (wire/flow.py); a user's job is due a second before at the latest.
local HELD_MS = 253402300799999

"""A worker's hold on jobs in Redis: it claims them, renews its leases by heartbeat, and finishes them.

`Leases` makes the script calls; a call proves by the token of its lease that the job is still the worker's. `Claiming`
has the claim under way, `Heartbeat` renews, `Finisher` writes outcomes in groups, `Wakeups` waits for work. `Parked`
finds the jobs that other workers left to it, `Fleet` the workers that there are. Nothing here runs a job, and nothing
enqueues one.
"""

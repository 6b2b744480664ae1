"""The read side: one job, all jobs on a timeline, queues and workers, why a job waits, which attempts it has ahead.

Reads what the scripts of the other rooms write, in one or two round trips each, whatever is in Redis. Nothing here
changes a job; the timeline alone writes, when it removes entries of jobs that have expired. No HTTP: `http.answers`
makes views of what is read here.

Public: `job_snapshot.JobSnapshot` and `read_job`, `timeline.Timeline`, `queues.read_queues` and `read_workers`,
`waiting.why_waiting`, `attempt_plan.plan_of`.
"""

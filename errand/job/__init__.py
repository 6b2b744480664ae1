"""What a job type is: `@job` and what it takes, the `Context` of an attempt, and how job types are found.

`job_type.py` has `@job`, `retry_policy.py` the waits between attempts, `schedule.py` recurring runs, `control.py` what
a job function raises (`Retry`, `Fail`, `Cancel`), `once.py` effects that must not be repeated. `errand` itself exports
what a job type needs. Nothing here enqueues, claims or runs a job.
"""

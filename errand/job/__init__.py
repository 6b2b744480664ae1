"""What a job type is: `@job`, the context of an attempt, retry policies, schedules, and how types are found.

Nothing here puts, claims or runs a job.
"""

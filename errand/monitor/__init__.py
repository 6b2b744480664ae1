"""The read side: one job, lists of jobs, queues and workers, why a job waits, which attempts it has ahead.

Nothing here changes a job.
"""

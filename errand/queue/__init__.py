"""The producer's side: enqueue jobs, and cancel, retry, reschedule or forget those that are there.

Idempotency and unique keys are conditions of an enqueue. Nothing here claims a job.
"""

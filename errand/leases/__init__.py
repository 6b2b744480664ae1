"""A worker's hold on jobs: claim, renew by heartbeat, finish, wake-ups.

A writer proves that the lease is its own. Nothing here runs a job.
"""

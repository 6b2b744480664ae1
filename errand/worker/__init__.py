"""Runs jobs: a worker's loop, what it takes in, and the way of each job from claim to finish.

`Worker` is an `arq.Worker` with the same constructor and hooks; it runs job types and plain Arq functions. `runners/`
has one attempt and what becomes of the job. How leases are kept in Redis is in `errand.leases`, the process around a
worker in `errand.process`; nothing here knows a particular job type, or HTTP.
"""

from errand.worker.worker import Worker

__all__ = ["Worker"]

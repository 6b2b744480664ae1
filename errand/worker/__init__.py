"""Runs jobs: the loop, admission, one attempt from claim to outcome, plain Arq functions.

`Worker` is an `arq.Worker` with the same constructor and hooks. Nothing here knows a job type or HTTP.
"""

from errand.worker.worker import Worker

__all__ = ["Worker"]

"""The names of all keys in Redis, in one place: Arq's own, and ours beside them.

Arq's names and meanings are those of Arq 0.28 (`arq.constants`). A job's keys end in its id, so that a hash tag
in the id puts them on one Cluster node together.
"""

from __future__ import annotations

from arq.constants import abort_jobs_ss, in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix

ABORT = abort_jobs_ss
WORKERS = "errand:workers"
"""Sorted set: worker name, score = its last heartbeat in ms of the server's clock."""


def body(job_id: str) -> str:
    """Arq's serialised job: `t f a k et`."""
    return job_key_prefix + job_id


def in_progress(job_id: str) -> str:
    """Arq's lease: exists while a worker runs the job."""
    return in_progress_key_prefix + job_id


def tries(job_id: str) -> str:
    """Arq's counter of started attempts."""
    return retry_key_prefix + job_id


def result(job_id: str) -> str:
    """Arq's serialised outcome."""
    return result_key_prefix + job_id


def attempts(job_id: str) -> str:
    """List: the job's ended attempts, oldest first, as JSON."""
    return f"errand:attempts:{job_id}"


def running(job_id: str) -> str:
    """JSON: the attempt begun last; gone when its end is recorded."""
    return f"errand:running:{job_id}"


def progress(job_id: str) -> str:
    """JSON: what the job last reported of itself."""
    return f"errand:progress:{job_id}"


def ended_channel(job_id: str) -> str:
    """Channel: says so when the job ends."""
    return f"errand:ended:{job_id}"

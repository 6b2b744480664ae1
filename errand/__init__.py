"""FastAPI's `BackgroundTasks` made durable: `from errand import job, Context, Jobs, jobs_lifespan`.

What needs FastAPI is loaded when it is first used (PEP 562), so that a worker does without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from errand.job.context import Context
from errand.job.control import Cancel, Fail, Retry, Snooze
from errand.job.job_type import JobType, job
from errand.job.retry_policy import Delays, Exponential
from errand.job.schedule import Schedule
from errand.job.stored_file import StoredFile
from errand.settings import Settings
from errand.version import VERSION

if TYPE_CHECKING:
    from errand.http.api import create_api
    from errand.integration.add_task import AddedJob, InvalidArgs, Jobs, JobsUnavailable, RequestJobs, jobs_of
    from errand.integration.lifespan import jobs_lifespan

__version__ = VERSION

_LAZY = {
    "AddedJob": "errand.integration.add_task",
    "InvalidArgs": "errand.integration.add_task",
    "Jobs": "errand.integration.add_task",
    "JobsUnavailable": "errand.integration.add_task",
    "RequestJobs": "errand.integration.add_task",
    "create_api": "errand.http.api",
    "jobs_lifespan": "errand.integration.lifespan",
    "jobs_of": "errand.integration.add_task",
}

__all__ = [
    "AddedJob",
    "Cancel",
    "Context",
    "Delays",
    "Exponential",
    "Fail",
    "InvalidArgs",
    "JobType",
    "Jobs",
    "JobsUnavailable",
    "RequestJobs",
    "Retry",
    "Schedule",
    "Settings",
    "Snooze",
    "StoredFile",
    "__version__",
    "create_api",
    "job",
    "jobs_lifespan",
    "jobs_of",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'errand' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)

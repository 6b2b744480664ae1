"""What the author of a job type imports: `from jobs import Context, job, Retry, Cancel, Fail`."""

from jobs.engine.control import Cancel, Fail, Retry
from jobs.engine.job_type import Context, JobType, job
from jobs.engine.retry_policy import Delays, Exponential
from jobs.engine.schedule import Schedule
from jobs.engine.stored_file import StoredFile

__all__ = ["Cancel", "Context", "Delays", "Exponential", "Fail", "JobType", "Retry", "Schedule", "StoredFile", "job"]

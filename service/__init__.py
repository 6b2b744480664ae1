"""The HTTP side. It knows how jobs are described and queued; never a worker, never what a job does.

Apps of your own import from here: `from service import Jobs, jobs_lifespan`.
"""

from service.add_task import AddedJob, Jobs, JobsUnavailable, RequestJobs, jobs_of
from service.own_app import jobs_lifespan

__all__ = ["AddedJob", "Jobs", "JobsUnavailable", "RequestJobs", "jobs_lifespan", "jobs_of"]

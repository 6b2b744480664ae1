"""For the pytest tests of an app that puts jobs: see them, run them, move their time, have their attempts die.

`plugin.py` has the fixtures, `server.py` the Redis of a test session, `jobs_under_test.py` what a test does with jobs,
`waiting_jobs.py` what it reads and moves in Redis, `deaths.py` attempts that end as if their worker had been killed.
The real worker runs the jobs, against a real server. An app loads nothing from here.
"""

from errand.testing.jobs_under_test import JobsUnderTest
from errand.testing.waiting_jobs import SeenJob

__all__ = ["JobsUnderTest", "SeenJob"]

"""Tests of an app that puts jobs, by pytest: `jobs.added`, `await jobs.run_all()`, time moved by hand, dying attempts.

`plugin.py` has the fixtures, `server.py` the Redis of a test session, `jobs_under_test.py` what a test does with jobs,
`waiting_jobs.py` what it reads and moves in Redis, `deaths.py` attempts that end as if their worker had been killed.
Jobs run on the real worker against a real server. Nothing here is loaded by an app.
"""

from errand.testing.jobs_under_test import JobsUnderTest
from errand.testing.waiting_jobs import SeenJob

__all__ = ["JobsUnderTest", "SeenJob"]

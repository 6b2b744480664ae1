"""The plugin's own fixtures, for the job types of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from errand.testing.plugin import errand_redis as errand_redis
from errand.testing.plugin import jobs as jobs
from settings import Settings
from tests.conftest import make_settings


@pytest.fixture
def errand_settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, job_packages="tests.testing.test_jobs_under_test")

"""The plugin's own fixtures, with a folder for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from errand import Client
from errand.testing import JobsUnderTest
from errand.testing.plugin import errand_redis as errand_redis
from errand.testing.plugin import jobs as jobs
from settings import Settings
from tests.conftest import make_settings


@pytest.fixture
def errand_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A test module names its job types in `PACKAGES`."""
    return make_settings(tmp_path, job_packages=request.module.PACKAGES)


@pytest.fixture
async def client(jobs: JobsUnderTest, errand_settings: Settings) -> AsyncIterator[Client]:
    async with Client(errand_settings) as opened:
        yield opened

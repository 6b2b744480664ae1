"""Pytest's fixtures: `jobs` for each test, one Redis for the session.

If you install Errand, pytest finds the plugin by itself. Otherwise write `pytest_plugins = ["errand.testing.plugin"]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # pytest loads this file in each of its runs, of any project in the environment
    from errand.settings import Settings
    from errand.testing.jobs_under_test import JobsUnderTest


@pytest.fixture(scope="session")
def errand_redis() -> Iterator[str]:
    """The URL of a Redis that lives as long as this test session."""
    from errand.testing import server

    with server.running() as url:
        yield url


@pytest.fixture(scope="session")
def errand_settings() -> Settings:
    """The settings of the app under test. To use others, define a fixture of this name in your project."""
    from errand.settings import Settings

    return Settings.read()


@pytest.fixture
def jobs(errand_redis: str, errand_settings: Settings) -> Iterator[JobsUnderTest]:
    """The jobs of this test. Connections that your code opens meanwhile go to the tests' Redis, empty at first."""
    from errand.client import connection
    from errand.testing.jobs_under_test import JobsUnderTest

    under_test = JobsUnderTest(errand_redis, errand_settings)
    under_test.clear()
    with connection.instead(errand_redis):
        yield under_test
    under_test.close()

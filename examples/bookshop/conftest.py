"""All that the tests of the shop need besides the fixture `jobs`."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from errand import Settings
from errand.testing import JobsUnderTest
from examples.bookshop.app import app, settings


@pytest.fixture(scope="session")
def errand_settings() -> Settings:
    return settings


@pytest.fixture
def client(jobs: JobsUnderTest) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client

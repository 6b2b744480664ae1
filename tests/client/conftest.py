"""A worker that knows the jobs of `examples.orders`, opens a client as a worker process does, and publishes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from arq.connections import ArqRedis

from errand.client.client import Client
from errand.client.published_types import published
from errand.job.job_type import JobType
from errand.worker.worker import Worker
from examples.orders import confirm, pack
from settings import Settings
from tests.conftest import RunWorker


@pytest.fixture
async def worker(redis: ArqRedis, redis_url: str, run_worker: RunWorker, settings: Settings) -> AsyncIterator[Worker]:
    types: list[JobType[Any, Any]] = [confirm, pack]
    async with (
        published(redis, types),
        Client(settings, redis_url=redis_url),
        run_worker(types) as running,
    ):
        yield running

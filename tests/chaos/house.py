"""The installation under test: what keeps the jobs, the API and workers as real processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
from redis.asyncio import Redis

from tests.chaos.program import Program
from tests.chaos.receivers import Receivers
from tests.ports import free_port

START_LIMIT_S = 60.0


class Store(Protocol):
    """What keeps the jobs: one server, or a cluster."""

    @property
    def url(self) -> str:
        """As the API and the accounts reach it."""

    @property
    def clients(self) -> Sequence[Redis]:
        """Straight to each of its partitions, for looking on."""

    @property
    def programs(self) -> Sequence[Program]:
        """Those of its processes that are started again if they end."""

    def url_of_worker(self, number: int) -> str:
        """As that worker reaches it; they are counted from 0."""


@dataclass
class House:
    """All of it."""

    folder: Path
    store: Store
    api: Program
    workers: Sequence[Program]
    api_port: int

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def programs(self) -> list[Program]:
        return [*self.store.programs, self.api, *self.workers]

    @classmethod
    @asynccontextmanager
    async def open(
        cls, folder: Path, receivers: Receivers, store: Store, *, workers: int, settings: Mapping[str, str]
    ) -> AsyncIterator[House]:
        """API and workers started and answering; nothing of them runs after the block. The store runs already."""
        api_port = free_port()
        environment = {
            "DATA_DIR": str(folder / "data"),
            "SMTP_URL": receivers.smtp_url,
            "WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
            "WEBHOOK_SINK_PORT": "0",
            "JOB_PACKAGES": "tests.chaos.noop,tests.chaos.flows.jobs,tests.chaos.limits.jobs",
            "CPU_PROCESSES": "1",
            "LOG_LEVEL": "warning",
            **settings,
        }
        house = cls(
            folder=folder,
            store=store,
            api=_python("service", "api", folder, environment, store.url, PORT=str(api_port)),
            workers=[
                _python("jobs", f"worker-{number + 1}", folder, environment, store.url_of_worker(number))
                for number in range(workers)
            ],
            api_port=api_port,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(house._end)
            await house._start()
            yield house

    async def ready(self) -> None:
        """Returns when the API answers that it is ready: Redis answers it, and a worker lives. Raises TimeoutError."""
        async with httpx.AsyncClient(base_url=self.api_url, timeout=5) as client, asyncio.timeout(START_LIMIT_S):
            while not await _answers(client, "/readyz"):
                await asyncio.sleep(0.1)

    async def _start(self) -> None:
        (self.folder / "data").mkdir(parents=True)
        for program in (self.api, *self.workers):
            await program.start()
        await self.ready()

    async def _end(self) -> None:
        for program in (self.api, *self.workers):
            if program.pids:
                await program.kill()


def _python(
    module: str, name: str, folder: Path, environment: Mapping[str, str], redis_url: str, **more: str
) -> Program:
    # the flag: should this program be killed, the house does not outlive it
    return Program(
        name,
        [sys.executable, "-m", module, "--end-with-stdin"],
        folder,
        {**environment, **more, "REDIS_URL": redis_url},
    )


async def _answers(client: httpx.AsyncClient, path: str) -> bool:
    try:
        return (await client.get(path)).status_code == 200
    except httpx.HTTPError:
        return False

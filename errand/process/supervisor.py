"""One parent of several processes of one kind: starts them apart, starts one again that has died, ends them together.

Each is a Python of its own, spawned and not forked: it shares no event loop, no thread and no connection with its
parent or with the others. The parent runs no job and answers no request.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import structlog

from errand.process import orphans
from errand.process.stop_signals import StopSignals

log = structlog.get_logger("errand.process")

LOOK_EVERY_S = 0.1
"""How soon a signal is acted on; an end of a child is noticed at once."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""A child that dies is replaced at once. If that one dies too the next start waits, twice as long each time."""

STEADY_S = 60.0
"""A child that has lived for so long did not die of its start: its death counts as a first one."""

STOP_LEEWAY_S = 15.0
"""How long after the time that it may take a child that is stopped is killed."""

CANNOT_START = 1
"""The exit code of a process that ends with one line, since a setting or a package of job types is bad."""

Ready = Callable[[], None]
"""What a child calls when it does its work."""

Body = Callable[[Ready], None]
"""What a child runs; it is pickled on its way there."""

SPAWN = multiprocessing.get_context("spawn")


def supervise(
    kind: str,
    number: int,
    body_of: Callable[[int], Body],
    *,
    stop_within_s: float,
    reload: Callable[[], None] = lambda: None,
    first_pause_s: float = FIRST_PAUSE_S,
) -> int:
    """Runs so many processes until SIGTERM or SIGINT; returns the exit code, 1 if they cannot start.

    `body_of` makes the body of the child with that number (from 1), each time that it is started. Signals to stop are
    passed on to all children, which have `stop_within_s` seconds to end. On SIGHUP `reload` is called, then each child
    that is ready is sent the signal, too.
    """
    children = [Child(kind, one, body_of, first_pause_s) for one in range(1, number + 1)]
    signals = StopSignals()
    try:
        can_start = _watch(children, signals, reload)
    finally:
        _stop(children, signals, within_s=stop_within_s + STOP_LEEWAY_S)
    log.info(f"all {kind} processes have stopped", processes=number)
    return 0 if can_start else CANNOT_START


def _watch(children: list[Child], signals: StopSignals, reload: Callable[[], None]) -> bool:
    """Blocks until a signal to stop arrives; returns False at once if the first child cannot start.

    The others wait until the first is ready: what is wrong with the settings is said once.
    """
    first, waiting, passed_on = children[0], children[1:], 0
    first.start()
    while not signals.count:
        wait([child.process.sentinel for child in children if child.process], LOOK_EVERY_S)
        if signals.hangups > passed_on:
            passed_on = signals.hangups
            reload()
            for child in children:
                child.hangup_is_due = True
        for child in children:
            child.look()
        orphans.reap([child.process.pid for child in children if child.process and child.process.pid])
        if waiting and first.was_ready:
            for child in waiting:
                child.start()
            waiting = []
        if not first.was_ready and first.exit_code == CANNOT_START:
            return False
    return True


def _stop(children: list[Child], signals: StopSignals, *, within_s: float) -> None:
    """Lets them end by themselves. Every further signal is passed on to them; kills what is left in the end."""
    until_s, passed_on = time.monotonic() + within_s, -1
    processes = [child.process for child in children if child.process]
    while (left := [one for one in processes if one.exitcode is None]) and time.monotonic() < until_s:
        if signals.count > passed_on:
            passed_on = signals.count
            for process in left:
                process.terminate()
        wait([process.sentinel for process in left], LOOK_EVERY_S)
    for process in left:
        log.error("a process did not stop and is killed", pid=process.pid)
        process.kill()
        process.join()


class Child:
    """One of the processes, and those that follow it if it dies."""

    def __init__(self, kind: str, number: int, body_of: Callable[[int], Body], first_pause_s: float) -> None:
        self._kind = kind
        self._number = number
        self._body_of = body_of
        self._first_pause_s = first_pause_s
        self.process: BaseProcess | None = None
        self.exit_code: int | None = None
        """Of the last one that has ended."""
        self.was_ready = False
        """One of them was."""
        self.hangup_is_due = False
        """This one is to have a SIGHUP: before it is ready, the signal would end it."""
        self._is_ready = False
        self._ready: Connection | None = None
        self._started_s = self._start_again_s = 0.0
        self._deaths = 0

    def start(self) -> None:
        """Starts a process. If the system has no room for one, that is tried again as after a death."""
        self._is_ready, self._started_s = False, time.monotonic()
        body = self._body_of(self._number)
        try:
            self.process, self._ready = self._started(body)
        except OSError as error:  # too little memory, too many processes: the others live on
            self._note_death("could not be started, which is tried again", error=str(error))

    def _started(self, body: Body) -> tuple[BaseProcess, Connection]:
        ready, sending = SPAWN.Pipe(duplex=False)
        with sending:
            process = SPAWN.Process(target=live, args=(body, sending), name=f"{self._kind} {self._number}")
            try:
                process.start()
            except OSError:
                ready.close()
                raise
        return process, ready

    def look(self) -> None:
        """Notes what became of it, and starts it again if it is time for that."""
        if self.process is not None:
            self._note_ready()
            if self.process.exitcode is not None:
                self._note_end(self.process.exitcode)
        elif self._deaths and time.monotonic() >= self._start_again_s:
            self.start()

    def _note_ready(self) -> None:
        assert self.process is not None
        assert self._ready is not None
        if not self._is_ready and self._ready.poll():
            with suppress(EOFError):  # it has ended without a word, though its exit code may not be known yet
                self._ready.recv_bytes()
                self._is_ready = self.was_ready = True
        if self._is_ready and self.hangup_is_due and self.process.pid is not None:
            self.hangup_is_due = False
            os.kill(self.process.pid, signal.SIGHUP)

    def _note_end(self, exit_code: int) -> None:
        assert self.process is not None
        assert self._ready is not None
        pid = self.process.pid
        self.process.close()
        self._ready.close()
        self.process, self.exit_code = None, exit_code
        self._note_death("has ended and is started again", pid=pid, exit_code=exit_code)

    def _note_death(self, what: str, **details: object) -> None:
        now_s = time.monotonic()
        self._deaths = 1 if now_s - self._started_s >= STEADY_S else self._deaths + 1
        pause_s = self._pause_s()
        self._start_again_s = now_s + pause_s
        log.warning(
            f"a {self._kind} process {what}", process=self._number, **details, in_a_row=self._deaths, pause_s=pause_s
        )

    def _pause_s(self) -> float:
        doublings = self._deaths - 2
        return 0.0 if doublings < 0 else min(self._first_pause_s * 2.0 ** min(doublings, 10), LONGEST_PAUSE_S)


def live(body: Body, ready: Connection) -> None:
    """What a child runs: `body`. If its parent dies, it ends as by SIGTERM."""
    # a process group of its own: Ctrl-C reaches only the parent, which then stops its children in order
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        body(lambda: ready.send_bytes(b"ready"))
    except Exception:  # noqa: BLE001  # multiprocessing would print it with the secrets in it
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)

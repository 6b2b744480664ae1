"""Starts the API and a worker as two processes side by side, their logs prefixed, and stops them together."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import IO

from errand.process import lifeline, orphans
from errand.process.stop_signals import StopSignals
from errand.settings import SHIPPED_JOBS, Settings

READY_LIMIT_S = 60.0
"""The address is shown after this time, even if the API is not ready yet."""

API = "api"
"""The name of the program that SIGHUP is passed on to."""

JOBS_PATH = "/v1/jobs/"

SHIPPED_TYPES = ("welcome_email", "webhook", "resize")

LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine, and never a proxy of the environment (`http_proxy`), to which this machine is another one."""

LOOK_EVERY_S = 0.1

STOP_LEEWAY_S = 20.0
"""How long after the end of a drain a process may take to end before it is killed."""


class Program:
    """One of the processes, and the thread that prints its output."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        # a process group of its own: Ctrl-C reaches only the parent, which then stops the children in order
        self.process = subprocess.Popen(
            [sys.executable, "-u", *arguments, lifeline.FLAG],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # a job, or a library of C, may print what is no text
            errors="backslashreplace",
            process_group=0,
        )
        self._printer = threading.Thread(target=self._print_lines, args=(self.process.stdout,), daemon=True)
        self._printer.start()

    def _print_lines(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                # the disk is full, say: a process whose output nobody took would stand still at its next line
                with suppress(OSError, ValueError):
                    print(f"{self.name:6} | {_printable(line)}", end="", flush=True)

    def stop(self) -> None:
        """Sends SIGTERM, unless it has ended."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Returns when it has ended and its last line is printed; kills it after `timeout_s` seconds."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._printer.join(1)
        assert self.process.stdin is not None
        self.process.stdin.close()


def run(settings: Settings, programs: Mapping[str, Sequence[str]]) -> int:
    """Runs programs side by side until Ctrl-C, SIGTERM, or the end of one of them; returns the exit code.

    `programs` maps the name of each to its arguments for Python: `{"api": ["-m", "service"], …}`. Each is started with
    `lifeline.FLAG` as its last argument.
    """
    signals = StopSignals()
    running = [Program(name, arguments) for name, arguments in programs.items()]
    ended = _watch(running, signals, settings)
    _stop(running, signals, timeout_s=settings.drain_s + STOP_LEEWAY_S)
    if ended is not None:
        say(f"the {ended.name} ended with exit code {ended.process.returncode}: everything is stopped")
        return 1
    say("stopped")
    return 0


def _watch(programs: list[Program], signals: StopSignals, settings: Settings) -> Program | None:
    """Blocks until a signal arrives (None) or a program ends by itself (returns it). Greets once all is ready."""
    greeted, passed_on, since_s = False, 0, time.monotonic()
    while not signals.count:
        time.sleep(LOOK_EVERY_S)
        for program in programs:
            if program.process.poll() is not None:
                return program
        orphans.reap([program.process.pid for program in programs])
        if not greeted and (is_ready(settings) or time.monotonic() - since_s > READY_LIMIT_S):
            greet(settings, job_types_of(settings))
            greeted = True
        if greeted and signals.hangups > passed_on:
            passed_on = signals.hangups
            _have_keys_read(programs)
    return None


def _have_keys_read(programs: Sequence[Program]) -> None:
    for program in programs:
        if program.name == API:
            program.process.send_signal(signal.SIGHUP)


def _stop(programs: list[Program], signals: StopSignals, *, timeout_s: float) -> None:
    """Lets the programs end by themselves. Every further signal is passed on to them; it ends the worker's drain."""
    until_s, passed_on = time.monotonic() + timeout_s, -1
    while any(program.process.poll() is None for program in programs) and time.monotonic() < until_s:
        if signals.count > passed_on:
            passed_on = signals.count
            for program in programs:
                program.stop()
        time.sleep(LOOK_EVERY_S)
    for program in programs:
        program.wait(0.1)


def _printable(line: str) -> str:
    """As this process's own output, which may be no UTF-8, can have it."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, errors="backslashreplace").decode(encoding)


def is_ready(settings: Settings) -> bool:
    """True if `/readyz` answers 200: Redis answers and a worker lives."""
    try:
        with LOCAL.open(f"{address(settings)}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):  # the second from another program on that port
        return False


def address(settings: Settings) -> str:
    """The URL of the API on this machine, such as `http://127.0.0.1:8000`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"


def greet(settings: Settings, job_types: Container[str] = SHIPPED_TYPES) -> None:
    """Prints the address of the API, and a curl command for each of the shipped job types that is among `job_types`."""
    shown = [command for name, command in _first_steps(settings).items() if name in job_types]
    described = f"its API is described at {address(settings)}/docs"
    say(f"Errand listens on {address(settings)} ({described}).")
    if settings.dashboard != "off":
        say(f"See its jobs at {address(settings)}/dashboard")
    if shown:
        say("Try:")
    for command in shown:
        say(f"  {command}")


def job_types_of(settings: Settings) -> set[str]:
    """The names of the job types that the API serves, by its OpenAPI document; none if it does not answer.

    The document of an API with keys is shown to who has one: then those that the settings name are meant.
    """
    if settings.api_keys:
        return set(SHIPPED_TYPES) if not {"jobs", SHIPPED_JOBS}.isdisjoint(settings.packages) else set()
    try:
        with LOCAL.open(f"{address(settings)}/openapi.json", timeout=5) as answer:
            return {path.removeprefix(JOBS_PATH) for path in json.load(answer).get("paths", ())}
    except (OSError, ValueError, HTTPException):
        return set()


def _first_steps(settings: Settings) -> dict[str, str]:
    """A command to try for each job type that Errand ships."""
    key = " -H 'Authorization: Bearer YOUR_KEY'" if settings.api_keys else ""
    start = f"curl{key} {address(settings)}{JOBS_PATH}"
    # not --json: curl has that only since 7.82
    as_json = "-H content-type:application/json -d"
    receiver = f"http://127.0.0.1:{settings.webhook_sink_port}/" if settings.serves_sinks else "https://YOUR.RECEIVER/"
    hook = json.dumps({"url": receiver, "event": "user.created", "data": {"id": 7}})
    return {
        "welcome_email": f"""{start}welcome_email {as_json} '{{"to": "ada@example.com", "name": "Ada"}}'""",
        "webhook": f"""{start}webhook {as_json} '{hook}'""",
        "resize": f"""{start}resize -F file=@examples/photo.jpg -F 'args={{"sizes": [{{"width": 320}}]}}'""",
    }


def say(line: str) -> None:
    """Prints a line of this process's own."""
    print(f"run    | {line}", flush=True)

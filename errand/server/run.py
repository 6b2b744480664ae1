"""`make run`: API and worker as two processes side by side, their logs prefixed, stopped together."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import IO

from errand.process import lifeline
from errand.settings import Settings

READY_LIMIT_S = 60.0


LOOK_EVERY_S = 0.1


class StopSignal:
    """Counts SIGINT and SIGTERM.

    A plain attribute, looked at from time to time: an Event takes a lock, and the handler may interrupt its holder.
    """

    def __init__(self) -> None:
        self.times = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.times += 1


class Program:
    """One of the two processes."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        # a group of its own: Ctrl-C reaches this process alone, which then stops both in good order
        self.process = subprocess.Popen(
            [sys.executable, "-u", *arguments, lifeline.FLAG],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._printer = threading.Thread(target=self._print_lines, args=(self.process.stdout,), daemon=True)
        self._printer.start()

    def _print_lines(self, lines: IO[str]) -> None:
        for line in lines:
            print(f"{self.name:6} | {line}", end="", flush=True)

    def stop(self) -> None:
        """Asks it to end in good order."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Until it has ended and its last line is printed; after `timeout_s` seconds it is killed."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._printer.join(1)


def run(settings: Settings, programs: Mapping[str, Sequence[str]]) -> int:
    """Runs programs side by side until Ctrl-C, SIGTERM, or the end of one; returns the exit code.

    `programs` has the arguments of Python for each by its name: `{"api": ["-m", "service"], …}`.
    """
    told = StopSignal()
    started = [Program(name, arguments) for name, arguments in programs.items()]
    fallen = _watch(started, told, settings)
    _stop(started, told, timeout_s=settings.drain_s + 20)
    if fallen is not None:
        say(f"the {fallen.name} ended with exit code {fallen.process.returncode}: everything is stopped")
        return 1
    say("stopped")
    return 0


def _watch(programs: list[Program], told: StopSignal, settings: Settings) -> Program | None:
    """Blocks until it is told to stop (None) or a program ends by itself (that program); greets once all is ready."""
    greeted, since_s = False, time.monotonic()
    while not told.times:
        time.sleep(LOOK_EVERY_S)
        for program in programs:
            if program.process.poll() is not None:
                return program
        if not greeted and (is_ready(settings) or time.monotonic() - since_s > READY_LIMIT_S):
            greet(settings)
            greeted = True
    return None


def _stop(programs: list[Program], told: StopSignal, *, timeout_s: float) -> None:
    """Lets both end in good order; every further signal is passed on, and ends the worker's drain."""
    until_s, passed_on = time.monotonic() + timeout_s, -1
    while any(program.process.poll() is None for program in programs) and time.monotonic() < until_s:
        if told.times > passed_on:
            passed_on = told.times
            for program in programs:
                program.stop()
        time.sleep(LOOK_EVERY_S)
    for program in programs:
        program.wait(0.1)


def is_ready(settings: Settings) -> bool:
    """True where `/readyz` answers 200."""
    try:
        with urllib.request.urlopen(f"{address(settings)}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def address(settings: Settings) -> str:
    """Where the API is to be found from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"


def greet(settings: Settings) -> None:
    """The address, and three things to try."""
    key = " -H 'Authorization: Bearer YOUR_KEY'" if settings.api_keys else ""
    base = f"{address(settings)}/v1/jobs"
    receiver = f"http://127.0.0.1:{settings.webhook_sink_port}/" if settings.serves_sinks else "https://YOUR.RECEIVER/"
    hook = json.dumps({"url": receiver, "event": "user.created", "data": {"id": 7}})
    say(f"Errand listens on {address(settings)} (its API is described at {address(settings)}/docs). Try:")
    # not --json: curl has that only since 7.82
    as_json = "-H content-type:application/json -d"
    say(f"""  curl{key} {base}/welcome_email {as_json} '{{"to": "ada@example.com", "name": "Ada"}}'""")
    say(f"""  curl{key} {base}/webhook {as_json} '{hook}'""")
    say(f"""  curl{key} {base}/resize -F file=@examples/photo.jpg -F 'args={{"sizes": [{{"width": 320}}]}}'""")


def say(line: str) -> None:
    """A line of this process's own."""
    print(f"run    | {line}", flush=True)

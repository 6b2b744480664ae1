"""`errand dev`: API and worker side by side as `errand run` has them, both started again when a file changes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from errand.extras import needs
from errand.process import start
from errand.process.stop_signals import StopSignals
from errand.server.run import (
    LOOK_EVERY_S,
    STOP_LEEWAY_S,
    Program,
    greet,
    is_ready,
    job_types_of,
    say,
)
from errand.settings import Settings

if TYPE_CHECKING:
    from watchfiles import Change

WATCHED = frozenset({".py", ".lua", ".j2"})
ENV_FILES = frozenset({".env"})


def run(settings: Settings, programs: Mapping[str, Sequence[str]], *, folder: Path, env_file: str | None = None) -> int:
    """Runs programs, as `errand.server.run` does, until Ctrl-C or SIGTERM; returns the exit code, which is 0.

    When a Python file, a template or the file of settings changes below `folder`, or where the packages of job types
    are, all are stopped and started again: what runs is handed back to the queue first, and costs no try. What
    ends by itself stays away until the next change, which may be its cure.
    """
    signals = StopSignals()
    names = ENV_FILES | ({Path(env_file).name} if env_file else set())
    # the embedded server stays while both are away
    with start.redis_url(settings):
        house = House(settings, programs)
        house.start()
        for changed in _changes(_folders(settings, folder), data_dir=settings.data_dir, names=names):
            if signals.count:
                break
            if changed:
                house.start_again(f"{', '.join(sorted(path.name for path in changed))} changed")
            house.look()
        house.stop()
    say("stopped")
    return 0


class House:
    """The programs that run now."""

    def __init__(self, settings: Settings, programs: Mapping[str, Sequence[str]]) -> None:
        self._settings = settings
        self._programs = programs
        self._running: list[Program] = []
        self._greeted = False

    def start(self) -> None:
        """Starts all of them."""
        self._running = [Program(name, arguments) for name, arguments in self._programs.items()]

    def start_again(self, why: str) -> None:
        """Stops all of them, and starts them with the files as they are now."""
        say(f"{why}: starting again")
        self.stop()
        self.start()

    def look(self) -> None:
        """Says which have ended by themselves, and greets when all is ready."""
        for program in [one for one in self._running if one.process.poll() is not None]:
            self._running.remove(program)
            program.wait(LOOK_EVERY_S)
            say(
                f"the {program.name} ended with exit code {program.process.returncode}: change a file to start it again"
            )
        if not self._greeted and is_ready(self._settings):
            greet(self._settings, job_types_of(self._settings))
            self._greeted = True

    def stop(self) -> None:
        """Ends them now: the second signal that a worker gets has it hand back what it runs."""
        until_s = time.monotonic() + STOP_LEEWAY_S
        while any(program.process.poll() is None for program in self._running) and time.monotonic() < until_s:
            for program in self._running:
                program.stop()
            time.sleep(LOOK_EVERY_S)
        for program in self._running:
            program.wait(LOOK_EVERY_S)


def _changes(folders: Sequence[Path], *, data_dir: Path, names: frozenset[str]) -> Iterator[set[Path]]:
    """The files of interest that have changed, ten times a second; none, most times."""
    with needs("dev"):
        from watchfiles import DefaultFilter, watch

    usual, data = DefaultFilter(), data_dir.resolve()

    def is_watched(change: Change, path: str) -> bool:
        file = Path(path)
        if data in file.parents or not (file.suffix in WATCHED or file.name in names):
            return False
        return usual(change, path)

    every_ms = int(LOOK_EVERY_S * 1000)
    changes = watch(
        *folders, watch_filter=is_watched, rust_timeout=every_ms, yield_on_timeout=True, raise_interrupt=False
    )
    for changed in changes:
        yield {Path(path) for _, path in changed}


def _folders(settings: Settings, folder: Path) -> list[Path]:
    """`folder`, and those of the packages of job types that lie elsewhere."""
    folder = folder.resolve()
    found = [folder]
    for package in settings.packages:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            own = Path(spec.origin).resolve().parent
            if folder != own and folder not in own.parents:
                found.append(own)
    return found

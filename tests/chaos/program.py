"""A process of the house, which faults kill, pause and start again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STOP_LIMIT_S = 30.0
"""A worker whose Redis is away may take as long: DRAIN_S, and then its attempts to write the last outcomes."""


@dataclass
class Program:
    """One process that dies and comes back, always with the same command."""

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    pids: list[int] = field(default_factory=list)
    """Of every process that it was, the latest last."""
    overdue: int = 0
    """How often it did not end within `STOP_LIMIT_S` of being asked to."""
    deserted: list[str] = field(default_factory=list)
    """Its ends that nobody had asked for."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the fault that it is under."""
    _process: Process | None = None
    _asked_to_end: bool = False
    _watch: asyncio.Task[None] | None = None

    @property
    def process(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """A new process; its output is added to `<name>.log`."""
        with (self.folder / f"{self.name}.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=self.folder,
                # nothing of the caller's own settings, a REDIS_URL say, reaches the house
                env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), **self.environment},
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        self.pids.append(self._process.pid)
        self._asked_to_end = False
        self._watch = asyncio.ensure_future(self._start_again_after(self._process))

    async def _start_again_after(self, process: Process) -> None:
        """Notes a program that ends by itself, and starts it again as any supervisor does."""
        code = await process.wait()
        if not self._asked_to_end:
            self.deserted.append(f"{self.name}, exit code {code}")
            await self.start()

    async def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self._asked_to_end = True
        if self.runs:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM; returns when the process has ended."""
        self._asked_to_end = True
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self.process.wait()
        except TimeoutError:
            self.overdue += 1
            await self.kill()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # gone where it ended by itself in this very moment
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

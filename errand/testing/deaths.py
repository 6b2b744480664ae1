"""Attempts that end as if their worker had been killed: nothing of their outcome is written, and their lease lapses."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, Literal

from errand.job.context import Context
from errand.job.control import Killed
from errand.job.job_type import JobType
from errand.job.once import Once

When = Literal["started", "finished"]


class Died(Killed):
    """Ends an attempt and everything around it. No Exception, so that no job catches it."""


@dataclass(slots=True)
class DeathAtEffect:
    """The next attempt that comes there dies right after `ctx.once(name)` was started, or finished."""

    name: str
    when: When = "started"
    left: int = 1

    def applied(self, job_type: JobType[Any, Any]) -> JobType[Any, Any]:
        """The job type, whose attempts die there."""

        async def function(ctx: Context, args: Any) -> Any:
            return await job_type.function(_with_effects(ctx, self._watched), args)

        return replace(job_type, function=function)

    def _watched(self, effect: Once) -> Once:
        return _DyingOnce(effect, self) if effect.name == self.name else effect

    def note(self, when: When) -> None:
        """Raises Died if that is the moment."""
        if when == self.when and self.left > 0:
            self.left -= 1
            raise Died


@dataclass(slots=True)
class DeathAtAwait:
    """The first attempt dies the `number`th time that it waits for something (1 is the first)."""

    number: int
    happened: bool = False
    over: bool = False
    """An attempt has been made, whether it died or came to its end before."""

    def applied(self, job_type: JobType[Any, Any]) -> JobType[Any, Any]:
        """The job type, whose first attempt dies there."""

        async def function(ctx: Context, args: Any) -> Any:
            if self.over:
                return await job_type.function(ctx, args)
            try:
                return await _Counted(job_type.function(ctx, args), self)
            finally:
                self.over = True

        return replace(job_type, function=function)


class _Counted:
    """Awaits something, and dies at the given wait."""

    def __init__(self, awaited: Awaitable[Any], death: DeathAtAwait) -> None:
        self._awaited = awaited
        self._death = death

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._awaited.__await__()
        counted, step = 0, _next_step(steps, None)
        while True:
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
            counted += 1
            if counted == self._death.number:
                self._death.happened = True
                # the `finally` blocks of the job run, as far as they do not wait; those of a killed process do not
                with contextlib.suppress(RuntimeError):
                    steps.close()
                raise Died
            step = _next_step(steps, (yield waits_for))


def _next_step(steps: Any, answer: Any) -> Callable[[], Any]:
    return lambda: steps.send(answer)


class _DyingOnce(Once):
    """An effect after whose start or end the attempt dies."""

    def __init__(self, effect: Once, death: DeathAtEffect) -> None:
        super().__init__(effect.name, kept={"state": effect.state, "value": effect.value}, write=effect._write)
        self._death = death

    async def start(self) -> None:
        await super().start()
        self._death.note("started")

    async def finish(self, value: Any = None) -> None:
        await super().finish(value)
        self._death.note("finished")


def _with_effects(ctx: Context, watched: Callable[[Once], Once]) -> Context:
    async def effect(name: str) -> Once:
        return watched(await ctx.once(name))

    return replace(ctx, effect=effect)

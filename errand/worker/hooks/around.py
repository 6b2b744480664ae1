"""The hooks around one attempt: entered before the job function, left when the outcome is known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from errand.job.context import Context
from errand.job.hooks import AttemptHook, SeenAttempt
from errand.worker.runners.attempt import Outcome

log = structlog.get_logger("errand.worker")


@dataclass(slots=True, kw_only=True)
class AroundAttempt:
    """One attempt with its hooks."""

    hooks: Sequence[AttemptHook]
    function: Callable[..., Awaitable[Any]]
    """The job's."""
    type: str
    queue: str
    due_at_ms: int
    seen: SeenAttempt | None = None
    """None until the args have been read."""
    entered: list[tuple[AttemptHook, AbstractAsyncContextManager[Any]]] = field(default_factory=list)
    raised: BaseException | None = None

    async def call(self, ctx: Context, args: Any) -> Any:
        """In place of the job function: enters the hooks in their order, then calls it. Raises what any of it does."""
        due_at = datetime.fromtimestamp(self.due_at_ms / 1000, UTC)
        self.seen = SeenAttempt(type=self.type, queue=self.queue, ctx=ctx, args=args, due_at=due_at)
        try:
            for hook in self.hooks:
                context = hook(self.seen)
                await context.__aenter__()
                self.entered.append((hook, context))
            return await self.function(ctx, args)
        except BaseException as error:
            self.raised = error
            raise

    async def end(self, outcome: Outcome) -> None:
        """Leaves those that were entered, the last one first. Raises nothing: the outcome stands, whatever they do."""
        if self.seen is None:
            return
        self.seen.outcome, self.seen.error = outcome.status, outcome.error
        error, self.raised = _seen_error(self.raised, outcome), None
        while self.entered:
            hook, context = self.entered.pop()
            try:
                async with asyncio.timeout(hook.end_limit_s):
                    await _leave(context, error)
            except BaseException as raised:  # noqa: BLE001  # a cancel, too: the job has ended
                if raised is not error:
                    self._log(hook, raised)

    def _log(self, hook: AttemptHook, raised: BaseException) -> None:
        assert self.seen is not None
        reason = f"not done after {hook.end_limit_s:g} s" if isinstance(raised, TimeoutError) else repr(raised)
        log.error(
            "a hook failed after an attempt, whose outcome stands",
            hook=hook.name,
            job_id=self.seen.ctx.job_id,
            type=self.type,
            error=reason,
            exc_info=raised,
        )


async def _leave(context: AbstractAsyncContextManager[Any], error: BaseException | None) -> None:
    if error is None:
        await context.__aexit__(None, None, None)
    else:
        await context.__aexit__(type(error), error, error.__traceback__)


def _seen_error(raised: BaseException | None, outcome: Outcome) -> BaseException | None:
    """What is raised at the `yield` of a hook: an attempt past its limit has not been cancelled, it has timed out."""
    timed_out = outcome.error is not None and outcome.error.type == "TimeoutError"
    if timed_out and outcome.error is not None and (raised is None or isinstance(raised, asyncio.CancelledError)):
        return TimeoutError(outcome.error.message)
    return raised

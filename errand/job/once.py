"""Effects that should happen once: a durable marker for each says whether it was started, or is done.

No marker can make an effect outside Redis happen exactly once: a process may die after the effect and before it has
written so. But an effect that is done is not repeated, and one that was only started is known to be uncertain, so that
the job can decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import structlog

from errand.redis.outage import missed
from errand.wire import codec

log = structlog.get_logger("errand.worker")


State = Literal["untouched", "begun", "done"]


VALUE_LIMIT_BYTES = 64 * 1024
"""Of the value that is kept with an effect that is done, as JSON."""


FORGET = b"forget"


class LeaseLost(Exception):
    """Another worker runs the job, or will: this attempt must not start anything more."""


class Write(Protocol):
    """Writes an effect's state to Redis; with `wait` it waits until Redis is back, without it raises redis' errors."""

    async def __call__(self, state: bytes, *, wait: bool) -> None: ...


class Once:
    """How far one effect of a job has come. `await ctx.once(name)` returns it."""

    def __init__(self, name: str, *, kept: Mapping[str, Any], write: Write) -> None:
        self.name = name
        self.state: State = kept.get("state", "untouched")
        self.value: Any = kept.get("value")
        """The JSON value that `finish` was given; None if the effect is not done."""
        self._write = write

    @property
    def done(self) -> bool:
        """The effect has happened, in this attempt or an earlier one."""
        return self.state == "done"

    @property
    def started(self) -> bool:
        """An attempt has started the effect, and nobody knows whether it happened."""
        return self.state == "begun"

    async def start(self) -> None:
        """Call it right before the effect. Waits until Redis answers.

        Raises LeaseLost if another worker has the job, or will have it: the effect is for that worker to do.
        """
        await self._write(codec.dumps({"state": "begun"}), wait=True)
        self.state = "begun"

    async def finish(self, value: Any = None) -> None:
        """Call it right after the effect; a later attempt finds `value`, of up to 64 KiB as JSON.

        Does not fail if Redis is away: the marker then stays at "started", and the outcome of the attempt is kept.
        Raises ValueError for a larger value.
        """
        kept = codec.dumps({"state": "done", "value": value})
        if len(kept) > VALUE_LIMIT_BYTES:
            raise ValueError(f"the value of '{self.name}' has {len(kept)} bytes, over the limit of {VALUE_LIMIT_BYTES}")
        self.state, self.value = "done", value
        with missed():
            try:
                await self._write(kept, wait=False)
            except LeaseLost:
                log.warning("an effect is done, but the lease is lost: it may be repeated", effect=self.name)

    async def forget(self) -> None:
        """Call it if the effect turns out not to have happened. Does nothing if it was not started."""
        if self.started:
            self.state = "untouched"
            with missed():
                await self._write(FORGET, wait=False)


async def nowhere(state: bytes, *, wait: bool) -> None:
    """Writes nothing: for a job function that is called without a worker, as in its test."""

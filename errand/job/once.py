"""Effects that should happen once: a durable marker of each says whether it was started, or done.

No marker can make an effect outside Redis happen exactly once: a process may die between the effect and the word that
it is done. What it can do: an effect known to be done is not repeated, and one that was only started is known to be
uncertain, so that the job decides.
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


FORGET = b"forget"


class LeaseLost(Exception):
    """The job is, or will be, run by another worker: this attempt must not start anything more."""


class Write(Protocol):
    """Keeps an effect's state; `wait` for a Redis that is away."""

    async def __call__(self, state: bytes, *, wait: bool) -> None: ...


class Once:
    """One effect of a job, as far as it has come. Made by `await ctx.once(name)`."""

    def __init__(self, name: str, *, kept: Mapping[str, Any], write: Write) -> None:
        self.name = name
        self.state: State = kept.get("state", "untouched")
        self.value: Any = kept.get("value")
        """What `finish` was given, a JSON value."""
        self._write = write

    @property
    def done(self) -> bool:
        """The effect has happened, in this attempt or an earlier one."""
        return self.state == "done"

    @property
    def started(self) -> bool:
        """An attempt started the effect, and nobody knows whether it happened."""
        return self.state == "begun"

    async def start(self) -> None:
        """Call it right before the effect. Waits for a Redis that is away.

        Raises LeaseLost if another worker has, or will have, the job: the effect is that one's.
        """
        await self._write(codec.dumps({"state": "begun"}), wait=True)
        self.state = "begun"

    async def finish(self, value: Any = None) -> None:
        """Call it right after the effect; `value`, of up to 64 KiB as JSON, is what a later attempt finds.

        Never fails for Redis' sake: while it is away the marker stays at "begun", and the attempt's outcome is kept.
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
        """Call it if it turned out that the effect did not happen. Does nothing if it was not started."""
        if self.started:
            self.state = "untouched"
            with missed():
                await self._write(FORGET, wait=False)


async def nowhere(state: bytes, *, wait: bool) -> None:
    """Where the marker of a job goes that no worker runs, as in a test of its function."""

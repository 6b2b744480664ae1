"""Why deliveries wait, said anew for all that wait for an endpoint when it begins to fail, or does no more.

Each was put back with the reason of its own moment: ten thousand that found their endpoint busy would say so for as
long as it fails. They are written a few at a time, since nobody waits for it.
"""

from __future__ import annotations

import asyncio
import time

from errand.job.control import Snooze
from errand.leases.groups import AnyGroups
from errand.webhooks.endpoints.soon import news
from errand.webhooks.turns.breaker import failing
from errand.webhooks.turns.receivers import busy
from errand.wire.records import PutBack

APART_S = 0.02
"""Between two calls: Redis answers nobody else during one, a millisecond."""


def note_of(put_back: Snooze) -> PutBack:
    """The reason of one delivery as all of its group have it."""
    return PutBack(code=put_back.code, reason=str(put_back), at_ms=int(time.time() * 1000))


class Reasons:
    """Those of the groups of one worker process."""

    def __init__(self, groups: AnyGroups) -> None:
        self._groups = groups
        self._failing: set[str] = set()
        """The groups whose deliveries say that their endpoint fails."""
        self._to_say: dict[str, PutBack] = {}
        self._saying: asyncio.Task[None] | None = None

    def see(self, group: str, name: str, *, fails: bool) -> None:
        """What waits for the receiver of that name waits because it fails, or else because it is busy."""
        if fails == (group in self._failing):
            return
        (self._failing.add if fails else self._failing.discard)(group)
        self._to_say[group] = note_of((failing if fails else busy)(name, after_s=0))
        if self._saying is None or self._saying.done():
            self._saying = asyncio.create_task(self._say())

    def forget(self, group: str) -> None:
        """None of that group waits any more."""
        self._failing.discard(group)

    async def close(self) -> None:
        """Says no more."""
        if self._saying is not None:
            self._saying.cancel()
            await asyncio.gather(self._saying, return_exceptions=True)

    async def _say(self) -> None:
        while self._to_say:
            group, note = self._to_say.popitem()
            with news():
                await self._say_of(group, note)

    async def _say_of(self, group: str, note: PutBack) -> None:
        said = 0
        while some := await self._groups.note(group, note, after=said):
            said += some
            await asyncio.sleep(APART_S)

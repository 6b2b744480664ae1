"""Deliveries that wait for their receiver: parked in Redis, and made due as soon as it has room for some of them.

To claim each of them now and then, only to put it back, would cost a worker as much as to deliver. A receiver has room
if its limits and the share of the slots leave some, its breaker lets an attempt through, and it has asked for no pause.
What waits for an endpoint that is disabled or deleted has room at once: it ends as cancelled.

Each worker process looks after what it has put back itself, and now and then asks for what others have left behind.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote

import structlog
from pydantic_core import to_json

from errand.job.control import Snooze
from errand.leases.groups import AnyGroups
from errand.leases.parked import MAX_PARKED
from errand.webhooks.endpoints.soon import news
from errand.webhooks.endpoints.store import Endpoints
from errand.webhooks.job_type import JOB_TYPE
from errand.webhooks.turns.breaker import Breakers
from errand.webhooks.turns.reasons import Reasons, note_of
from errand.webhooks.turns.receivers import APART_S, Limit, Receivers, endpoint_of
from errand.wire import keys

log = structlog.get_logger("errand.webhooks")


MOMENT_S = 0.005
"""How long exchanges that end are gathered: one call makes due what they leave room for."""
LOOK_EVERY_S = 1.0
"""How often all groups are looked at: breakers let a probe through, and pauses end, without a word."""
ASK_EVERY_S = 10.0
"""How often Redis is asked for groups that other workers have left behind."""
KNOWN_S = 2.0
"""A group stays known for so long after a delivery was put back: it may not be written yet."""
LOOK_SOON_S = 0.1
"""How often such a group is looked at if its receiver has room: perhaps nothing ends any more that would do so."""
MANY = 20
"""So many deliveries are put back before others like them are looked for, which have not been claimed."""
FEW = 0.1
"""That ends when no more than this part of the jobs that are due next are like them."""
GROUPS_AT_ONCE = 100
ENDING_AT_ONCE = 500
"""Of an endpoint that takes no more deliveries: so many are made due with each look, and end."""


class WaitingDeliveries:
    """Those of one worker process."""

    def __init__(
        self, groups: AnyGroups, endpoints: Endpoints, *, receivers: Receivers, breakers: Breakers, host_limit: int
    ) -> None:
        self._groups = groups
        self._endpoints = endpoints
        self._receivers = receivers
        self._breakers = breakers
        self._host_limit = host_limit
        self._known_s: dict[str, float] = {}
        """The groups of which deliveries wait, as keys have them, and when one was put back here last."""
        self._freed: set[str] = set()
        """Those of them whose receivers have ended something since the last look."""
        self._unsure: set[str] = set()
        """Those that have room, and of which a delivery that was put back lately may not be written yet."""
        self._ended = asyncio.Event()
        self._looked_s = self._asked_s = -math.inf
        """When all of them were looked at last, and when Redis was asked for more, on the monotonic clock."""
        self._reasons = Reasons(groups)
        self._met: Counter[str] = Counter()
        self._search: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def looked_after(self) -> AsyncIterator[None]:
        """For as long as the block lasts."""
        looking = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            ending = [looking, *([self._search] if self._search else [])]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            await self._reasons.close()

    def note(self, put_back: Snooze) -> None:
        """A delivery was put back; one that waits for no receiver waits for its time alone."""
        if put_back.waits_for:
            group = keys.group_in_key(put_back.waits_for)
            self._known_s[group] = time.monotonic()
            self._meet(put_back, group)

    def freed(self, limits: Iterable[Limit]) -> None:
        """An exchange with these receivers has ended."""
        if self._known_s:
            for name, _ in limits:
                if (group := keys.group_in_key(name)) in self._known_s:
                    self._freed.add(group)
                    self._ended.set()

    # --- making due

    async def _keep_looking(self) -> None:
        while True:
            try:
                with news():  # Redis may be away: the next look finds the same
                    await self._look()
            except Exception:
                log.exception("deliveries that wait could not be looked at")
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SOON_S if self._unsure else LOOK_EVERY_S):
                    await self._ended.wait()
            await asyncio.sleep(MOMENT_S)

    async def _look(self) -> None:
        """At those groups whose receivers have ended something; once in a while at all."""
        self._ended.clear()
        freed, self._freed, self._unsure = self._freed | self._unsure, set(), set()
        now_s = time.monotonic()
        if now_s - self._asked_s >= ASK_EVERY_S:
            for group in await self._groups.names():
                self._known_s.setdefault(group, 0.0)
            self._asked_s = now_s
        if now_s - self._looked_s >= LOOK_EVERY_S:
            freed = set(self._known_s)
            self._looked_s = now_s
        await self._release(freed)

    async def _release(self, groups: Collection[str]) -> None:
        room = {group: most for group in groups if (most := await self._room(group)) > 0}
        while room:
            some = {group: room.pop(group) for group in list(room)[:GROUPS_AT_ONCE]}
            for group, most in some.items():
                # before: the first may come sooner than the answer
                self._receivers.expect(_name(group), most)
            for group, (released, left) in (await self._groups.release(some)).items():
                self._receivers.expect(_name(group), released - some[group])
                if left:
                    continue
                if time.monotonic() - self._known_s.get(group, 0.0) <= KNOWN_S:
                    self._unsure.add(group)
                else:
                    self._known_s.pop(group, None)
                    self._reasons.forget(group)

    async def _room(self, group: str) -> int:
        """How many deliveries of that group may come now."""
        name = _name(group)
        endpoint_id = endpoint_of(name)
        if endpoint_id is None:
            return self._receivers.room((name, self._host_limit))
        endpoint = await self._endpoints.get(endpoint_id)
        if endpoint is None or not endpoint.enabled:
            return ENDING_AT_ONCE
        if self._endpoints.throttled_s(endpoint_id) > 0:
            return 0
        limit = 1 if endpoint.definition.ordered else endpoint.definition.concurrency
        room, admitted = self._receivers.room((name, limit)), self._breakers.admits(endpoint_id)
        self._reasons.see(group, name, fails=admitted is not None)
        return room if admitted is None else min(room, admitted)

    # --- parking what has not been claimed

    def _meet(self, put_back: Snooze, group: str) -> None:
        """Others like it are looked for if its endpoint takes nothing, and many of them come."""
        endpoint_id = endpoint_of(put_back.waits_for)
        takes_none = put_back.code == "endpoint_failing" or self._receivers.is_stuck(put_back.waits_for)
        if endpoint_id is None or not takes_none:
            return
        self._met[group] += 1
        if self._met[group] >= MANY and (self._search is None or self._search.done()):
            self._met.clear()
            self._search = asyncio.create_task(self._park(put_back, group, endpoint_id))

    async def _park(self, put_back: Snooze, group: str, endpoint_id: str) -> None:
        """Parks those that are due and begin with that endpoint, as all do that `POST /v1/webhook-events` puts."""
        note = note_of(put_back)
        follows = f',"a":[],"k":{{"endpoint_id":{to_json(endpoint_id).decode()}'
        looked = parked = MAX_PARKED
        while parked and parked >= FEW * looked:
            first_s = self._receivers.far_off.take_s(MAX_PARKED)
            looked = parked = 0
            with news():
                looked, parked = await self._groups.park_due(
                    group, JOB_TYPE, follows=follows, first_s=first_s, apart_s=APART_S, note=note
                )


def _name(group: str) -> str:
    """The receiver's, of the group's as keys have it."""
    return unquote(group[1:])

"""How far each letter has come: accepted by the mail server, then delivered, bounced, complained of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from redis.asyncio import Redis

from errand.mail.events.email_event import EmailEvent
from errand.mail.suppressions import Reason, Suppressions, normal
from errand.redis import script
from errand.wire import codec, keys

State = Literal["accepted", "deferred", "delivered", "bounced", "complained", "unsubscribed"]


RANK = {"accepted": 0, "deferred": 1, "delivered": 2, "bounced": 3, "unsubscribed": 4, "complained": 5}
"""Events come in any order, and more than once: a state gives way to those of a higher rank alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryState:
    """Of the letter of one job."""

    job_id: str
    address: str
    state: State
    detail: str
    at_ms: int
    recipients: Sequence[str] = ()
    """Everybody the letter went to, as addresses are compared."""


class Deliveries:
    """The states, in Redis, each kept as long as the outcome of a job."""

    def __init__(self, redis: Redis, *, ttl_s: float) -> None:
        self._redis = redis
        self._ttl_ms = int(ttl_s * 1000)
        self._replace = script.load(redis, "mail/replace")

    async def find(self, job_id: str) -> DeliveryState | None:
        """None if that job has sent no letter, or it is too long ago."""
        kept = await self._redis.get(keys.delivery(job_id))
        return DeliveryState(**codec.loads(kept)) if kept else None

    async def accepted(self, job_id: str, recipients: Sequence[str], *, detail: str) -> None:
        """The mail server has taken the letter, addressed to the first of these and copied to the others.

        The first of all states: kept only if none is known, which is one call.
        """
        new = _state(job_id, recipients[0], "accepted", detail, [normal(each) for each in recipients])
        if not await self._redis.set(keys.delivery(job_id), codec.dumps(asdict(new)), px=self._ttl_ms, nx=True):
            # an event was quicker: it knows nobody else that the letter went to
            await self._change(job_id, lambda known: replace(known or new, recipients=new.recipients))

    async def _note(self, job_id: str, address: str, state: State, detail: str) -> None:
        """Keeps the state, unless a later one is known."""

        def noted(known: DeliveryState | None) -> DeliveryState:
            if known is not None and RANK[known.state] >= RANK[state]:
                return known
            return _state(job_id, address, state, detail, known.recipients if known else ())

        await self._change(job_id, noted)

    async def _change(self, job_id: str, change: Callable[[DeliveryState | None], DeliveryState]) -> None:
        """What is known, changed as it is at that moment: two events may come at once."""
        name = keys.delivery(job_id)
        while True:
            kept: bytes = await self._redis.get(name) or b""
            known = DeliveryState(**codec.loads(kept)) if kept else None
            new = change(known)
            if new == known or await self._replace(keys=[name], args=[kept, codec.dumps(asdict(new)), self._ttl_ms]):
                return

    async def take(self, event: EmailEvent) -> None:
        """Notes an event, and suppresses an address that takes, or wants, no more mail. A repeat changes nothing."""
        reason = _reason_to_suppress(event)
        if reason is not None:
            await Suppressions(self._redis).add(event.address, reason, detail=event.detail, job_id=event.job)
        if event.job is not None:
            await self._note(event.job, event.address, event.event, event.detail)

    async def take_report(self, event: EmailEvent) -> bool:
        """As `take`, for a report that anybody may have written, such as a bounce that came by mail.

        It counts only if it names a job, and an address that the letter of that job went to: else a forged bounce
        could cut any address off. False if it does not count.
        """
        known = await self.find(event.job) if event.job is not None else None
        if known is None or normal(event.address) not in known.recipients:
            return False
        await self.take(event)
        return True


def _state(job_id: str, address: str, state: State, detail: str, recipients: Sequence[str]) -> DeliveryState:
    return DeliveryState(
        job_id=job_id,
        address=address,
        state=state,
        detail=detail[:500],
        at_ms=int(time.time() * 1000),
        recipients=recipients,
    )


def _reason_to_suppress(event: EmailEvent) -> Reason | None:
    if event.event == "bounced":
        return "hard_bounce" if event.permanent else None
    reasons: dict[str, Reason] = {"complained": "complaint", "unsubscribed": "unsubscribe"}
    return reasons.get(event.event)

"""What the workers of an installation remember of addresses, domains and letters, in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from redis.asyncio import Redis

from errand.job.context import Context
from errand.job.control import Cancel, Snooze
from errand.mail.deliveries import Deliveries
from errand.mail.domains.slow_domains import SlowDomains, asks_for_less
from errand.mail.suppressions import Suppressions
from errand.redis.outage import Outage, missed

if TYPE_CHECKING:
    from errand.mail.verdict import Refusal


@dataclass(frozen=True, slots=True)
class MailRecords:
    """Asked before a letter is sent, and written after it."""

    suppressions: Suppressions
    deliveries: Deliveries
    slow_domains: SlowDomains

    @classmethod
    def of(cls, redis: Redis, *, ttl_s: float) -> Self:
        """`ttl_s`: how long the state of a letter is kept."""
        return cls(Suppressions(redis), Deliveries(redis, ttl_s=ttl_s), SlowDomains(redis))

    async def admit(self, addresses: Sequence[str], *, domain: str) -> bool:
        """Raises Cancel for an address that takes, or wants, no mail; Snooze while its domain is asked less of.

        True if the domain was slow lately. Waits for a Redis that is away.
        """
        found = await Outage().outlast(partial(self.suppressions.find, addresses))
        if found:
            raise Cancel(f"suppressed: {found[0].reason.replace('_', ' ')}")
        pause = await Outage().outlast(partial(self.slow_domains.pause_of, domain))
        if pause is not None and pause.left_s > 0:
            raise Snooze(f"{domain} asked for less mail", after_s=pause.left_s, code="domain_slowed")
        return pause is not None

    async def accepted(
        self, ctx: Context, recipients: Sequence[str], *, detail: str, was_slow: bool, domain: str
    ) -> None:
        """The mail server has taken the letter. Missed while Redis is away: it is sent, whatever is noted."""
        with missed():
            await self.deliveries.accepted(ctx.job_id, recipients, detail=detail)
            if was_slow:
                await self.slow_domains.is_fine(domain)

    async def refused(self, error: Refusal, *, job_id: str, domain: str, at_least_s: float) -> Snooze | None:
        """Remembers an address that takes no mail. A Snooze if the domain asks for less: then no try is used."""
        snooze = None
        with missed():
            if (address := error.suppresses) is not None:
                await self.suppressions.add(address, "hard_bounce", detail=str(error.reply), job_id=job_id)
            if asks_for_less(error):
                pause = await self.slow_domains.slow_down(domain, at_least_s=at_least_s)
                snooze = Snooze(f"{domain} asked for less mail: {error}", after_s=pause.left_s, code="domain_slowed")
        return snooze

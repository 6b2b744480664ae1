"""Several mail servers in the order in which they are preferred: if one is away, the next carries the letters."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from errand.extras import needs
from errand.job.clock import Clock
from errand.mail.letter import Letter
from errand.mail.offers import MailServerOffers
from errand.mail.smtp import PoolLimits, SmtpPool, Timeouts
from errand.mail.verdict import Refusal, Stage, Unavailable, is_too_much

log = structlog.get_logger("errand.mail")


DOWN_S = (5.0, 15.0, 60.0, 300.0)
"""How long a relay is passed over after the first failure, the second in a row, and so on."""
READY_S = 60.0
"""How long a relay may take to be ready for a letter if there is another, which gets the letter then."""


class Transport(Protocol):
    """Hands letters over: a pool of SMTP connections, several of them, or a provider's API."""

    async def send(
        self, letter: Letter, *, begin: Callable[[], Awaitable[None]] | None = None, clock: Clock | None = None
    ) -> str:
        """The reply by which the letter was taken over. Raises Refusal; see `SmtpPool.send`."""


@dataclass(slots=True)
class _Relay:
    transport: Transport
    number: int
    failures: int = 0
    down_until_s: float = 0.0
    trying: int = 0
    """How many letters are on their way over it."""

    @property
    def rank(self) -> tuple[float, int]:
        """The lower, the sooner it is tried. One that has failed gets one letter to show that it is back: it may hang,
        and all letters would hang with it."""
        if self.failures and self.trying:
            return math.inf, self.number
        return max(self.down_until_s - time.monotonic(), 0), self.number

    def failed(self, error: Refusal) -> None:
        self.down_until_s = time.monotonic() + DOWN_S[min(self.failures, len(DOWN_S) - 1)]
        self.failures += 1
        log.warning("mail server passed over", relay=self.number, failures=self.failures, error=str(error))

    def worked(self) -> None:
        if self.failures:
            log.info("mail server carries letters again", relay=self.number)
        self.failures, self.down_until_s = 0, 0.0


class Relays:
    """Sends over the first that is up. A letter goes to another only while nothing of it was sent."""

    def __init__(self, transports: Sequence[Transport]) -> None:
        self._relays = [_Relay(transport, number) for number, transport in enumerate(transports, 1)]

    async def send(
        self, letter: Letter, *, begin: Callable[[], Awaitable[None]] | None = None, clock: Clock | None = None
    ) -> str:
        """The reply of the relay that took the letter over.

        If none did: raises what leaves most hope, so that a letter which one relay cannot carry waits for another.
        """
        errors: list[Refusal] = []
        for relay in self._in_order():
            try:
                return await self._send(relay, letter, begin, clock)
            except Refusal as error:
                if not (_is_about_the_relay(error) or is_too_much(error)):
                    raise
                errors.append(error)
        raise next((error for error in reversed(errors) if isinstance(error, Unavailable)), errors[-1])

    def _in_order(self) -> list[_Relay]:
        """Those that are up, as preferred; then the others, those first that have been down for longest."""
        return sorted(self._relays, key=lambda relay: relay.rank)

    async def _send(
        self, relay: _Relay, letter: Letter, begin: Callable[[], Awaitable[None]] | None, clock: Clock | None
    ) -> str:
        relay.trying += 1
        try:
            reply = await relay.transport.send(letter, begin=begin, clock=clock)
        except Refusal as error:
            if _is_about_the_relay(error):
                relay.failed(error)
            raise
        finally:
            relay.trying -= 1
        relay.worked()
        return reply


def _is_about_the_relay(error: Refusal) -> bool:
    """Before RCPT a refusal cannot be the recipient's; there, a lost connection is not either."""
    early = error.stage < Stage.RCPT or (error.stage is Stage.RCPT and not error.reply)
    return isinstance(error, Unavailable) and early and not is_too_much(error)


@asynccontextmanager
async def opened_relays(
    urls: Sequence[str], *, limits: PoolLimits, name: str | None, offers: MailServerOffers | None = None
) -> AsyncIterator[Transport]:
    """One transport for these URLs; what mail servers offer is noted. Raises ValueError for one that cannot be read."""
    async with AsyncExitStack() as stack:
        timeouts = Timeouts(ready_s=READY_S) if len(urls) > 1 else Timeouts()
        opened = [await stack.enter_async_context(_opened(url, limits, timeouts, name, offers)) for url in urls]
        yield opened[0] if len(opened) == 1 else Relays(opened)


def _opened(
    url: str, limits: PoolLimits, timeouts: Timeouts, name: str | None, offers: MailServerOffers | None
) -> AbstractAsyncContextManager[Transport]:
    scheme = url.partition("://")[0]
    if scheme in ("smtp", "smtps"):
        met = partial(offers.note, url) if offers else None
        return SmtpPool.open(url, limits=limits, timeouts=timeouts, name=name, met=met)
    with needs("providers"):
        from errand.mail.providers.postmark import PostmarkSender
        from errand.mail.providers.ses import SesSender
    sender = SesSender if scheme == "ses" else PostmarkSender
    return sender.open(url, connections=limits.connections)

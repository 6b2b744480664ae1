"""A few open connections to one mail server, each carrying one letter at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from errand.job.clock import Clock
from errand.mail.letter import Letter
from errand.mail.smtp.connection import Lost, SmtpConnection, Timeouts
from errand.mail.smtp.reply import SmtpReply
from errand.mail.smtp.server import SmtpServer
from errand.mail.smtp.transaction import transact
from errand.mail.verdict import Refusal, Stage, Unavailable
from errand.tracing import current
from errand.tracing.attributes import Attributes

Begin = Callable[[], Awaitable[None]]


Met = Callable[[Collection[str]], Awaitable[None]]
"""Given what the server offers, by its keywords, whenever a connection was opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """How many connections there may be, and how long each is kept."""

    connections: int = 8
    letters: int = 100
    """So many letters travel over one connection; servers with a limit of their own have it near there."""
    idle_s: float = 30.0
    """Servers close an idle connection after five minutes (RFC 5321 §4.5.3.2.7); the pool closes it long before."""


@dataclass(slots=True)
class _Kept:
    connection: SmtpConnection
    letters: int
    since_s: float


class SmtpPool:
    """Connections to one server, opened when needed."""

    def __init__(
        self,
        server: SmtpServer,
        *,
        limits: PoolLimits | None = None,
        timeouts: Timeouts | None = None,
        name: str | None = None,
        met: Met | None = None,
    ) -> None:
        self._server = server
        self._limits = limits or PoolLimits()
        self._timeouts = timeouts or Timeouts()
        self._name = name
        self._met = met
        self._free = asyncio.Semaphore(self._limits.connections)
        self._idle: list[_Kept] = []
        self._peer: Attributes = {
            "network.protocol.name": "smtp",
            "server.address": server.host,
            "server.port": server.port,
        }

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        limits: PoolLimits | None = None,
        timeouts: Timeouts | None = None,
        name: str | None = None,
        met: Met | None = None,
    ) -> AsyncIterator[SmtpPool]:
        """A pool for `url`; it connects at the first letter. `name` is what it says after EHLO; None: the host's.

        Raises ValueError for a URL that it cannot read.
        """
        pool = cls(SmtpServer.parse(url), limits=limits, timeouts=timeouts, name=name, met=met)
        try:
            yield pool
        finally:
            await asyncio.gather(*(kept.connection.quit() for kept in pool._idle))

    async def send(self, letter: Letter, *, begin: Begin | None = None, clock: Clock | None = None) -> str:
        """Sends a letter; returns the server's last reply. Raises Unavailable, SenderRefused, Rejected, Unsure.

        `begin` is awaited right before the message itself goes out, when the server has taken sender and recipients.
        `clock` is stopped while the letter waits for a free connection.
        """
        async with (clock or Clock()).turn(self._free):
            with current.span("smtp send", self._peer, kind="client"):
                reply = await self._by_kept(letter, begin or _nothing)
                if reply is None:
                    reply = await self._deliver(_Kept(await self._connected(), 0, 0), letter, begin or _nothing)
                current.note({"smtp.response.code": reply.code})
        return str(reply)

    async def _connected(self) -> SmtpConnection:
        connection = await self._server.connect(name=self._name, timeouts=self._timeouts)
        if self._met is not None:
            try:
                await self._met(connection.extensions)
            except BaseException:
                connection.close()
                raise
        return connection

    async def _by_kept(self, letter: Letter, begin: Begin) -> SmtpReply | None:
        """Over a connection that was kept; None if there is none, or the one that there was has gone stale."""
        kept = await self._take()
        if kept is None:
            return None
        try:
            return await self._deliver(kept, letter, begin)
        except Unavailable as error:
            if _says_only_that_it_is_stale(error):
                return None
            raise

    async def _take(self) -> _Kept | None:
        while self._idle:
            kept = self._idle.pop()
            if kept.connection.is_usable and time.monotonic() - kept.since_s < self._limits.idle_s:
                return kept
            await kept.connection.quit()
        return None

    async def _deliver(self, kept: _Kept, letter: Letter, begin: Begin) -> SmtpReply:
        connection = kept.connection
        try:
            reply = await transact(connection, letter, begin=begin, kept=kept.letters > 0)
        except Refusal as error:
            await self._reset(kept, error)
            raise
        except BaseException:
            connection.close()  # cut off, in whatever state the server is
            raise
        await self._keep(kept)
        return reply

    async def _keep(self, kept: _Kept) -> None:
        kept.letters += 1
        kept.since_s = time.monotonic()
        if kept.letters < self._limits.letters:
            self._idle.append(kept)
        else:
            await kept.connection.quit()

    async def _reset(self, kept: _Kept, error: Refusal) -> None:
        """After a clear no, the connection can carry the next letter; after anything else it is given up."""
        if error.reply is None or not 400 <= error.reply.code <= 599 or error.reply.code == 421:
            kept.connection.close()
            return
        try:
            reply = await kept.connection.command("RSET", within_s=self._timeouts.kept_s)
        except Lost:
            reply = None
        if reply is not None and reply.code == 250:
            await self._keep(kept)
        else:
            kept.connection.close()


def _says_only_that_it_is_stale(error: Unavailable) -> bool:
    """Before DATA nothing was sent, and a fresh connection decides what a kept one could not say."""
    if error.stage >= Stage.DATA:
        return False
    return error.stage is Stage.MAIL or error.reply is None or error.reply.code == 421


async def _nothing() -> None:
    pass

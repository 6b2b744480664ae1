"""Hands letters to a mail server over a few open connections, and sorts every answer into sent, later or never."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from errand.job.clock import Clock
from errand.mail.letter import Letter
from errand.settings import is_loopback

IDLE_LIMIT_S = 30.0
"""Servers close an idle connection after minutes (RFC 5321 §4.5.3.2: five); the pool closes its own long before."""


COMMAND_TIMEOUT_S = 30.0


FINAL_REPLY_TIMEOUT_S = 660.0
"""For the reply to the final dot: RFC 5321 §4.5.3.2.6 asks for ten minutes, and a client that gives up sooner sends
letters twice. The minute on top is for a server that takes all ten."""


STARTTLS = {"auto": None, "required": True, "never": False}


NOT_READABLE = (
    "SMTP_URL: must be smtp[s]://[user:password@]host[:port][?starttls=auto|required|never], "
    "with / ? # % in user or password as %2F %3F %23 %25"
)


class Unavailable(Exception):
    """The server cannot take the letter now: a 4xx reply, or a fault of the connection. It may take it later."""


class Unsure(Unavailable):
    """The connection was lost between the letter and the reply to it: nobody knows whether it was taken (RFC 1047)."""


class Rejected(Exception):
    """The server will never take this letter: a 5xx reply, or something it does not support."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The address, and how to connect to it: `smtp[s]://[user:password@]host[:port][?starttls=auto|required|never]`."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    implicit_tls: bool
    starttls: bool | None
    """True: required; False: never; None: if the server offers it."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """STARTTLS is required by default if a password would travel to another machine. Raises ValueError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # the standard library's message quotes what it could not read, perhaps a piece of the password
            raise ValueError(NOT_READABLE) from None
        options = parse_qs(parts.query, keep_blank_values=True)
        implicit_tls = parts.scheme == "smtps"
        host = parts.hostname or "localhost"
        secret_travels = parts.username is not None and not is_loopback(host)
        mode = options.pop("starttls", ["required" if secret_travels else "auto"])[0]
        if options or parts.path.strip("/") or parts.fragment:
            raise ValueError(NOT_READABLE)
        if mode not in STARTTLS:
            raise ValueError("SMTP_URL: starttls must be auto, required or never")
        return cls(
            host=host,
            port=port or (465 if implicit_tls else 587 if parts.username else 25),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            implicit_tls=implicit_tls,
            starttls=False if implicit_tls else STARTTLS[mode],
        )

    async def connect(self) -> aiosmtplib.SMTP:
        """A connection, greeted and, if there are credentials, logged in."""
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            username=self.username,
            password=self.password,
            use_tls=self.implicit_tls,
            start_tls=self.starttls,
            timeout=COMMAND_TIMEOUT_S,
        )
        await client.connect()
        return client


@dataclass(frozen=True, slots=True)
class _Idle:
    client: aiosmtplib.SMTP
    since_s: float

    @property
    def usable(self) -> bool:
        return self.client.is_connected and time.monotonic() - self.since_s < IDLE_LIMIT_S


class SmtpPool:
    """A few connections to one server, opened when needed. A connection carries one letter at a time."""

    def __init__(self, server: SmtpServer, *, connections: int) -> None:
        self._server = server
        self._free = asyncio.Semaphore(connections)
        self._idle: list[_Idle] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, connections: int = 8) -> AsyncIterator[SmtpPool]:
        """A pool for `url`; it connects at the first letter. Raises ValueError for a URL that it cannot read."""
        pool = cls(SmtpServer.parse(url), connections=connections)
        try:
            yield pool
        finally:
            await asyncio.gather(*(_quit(idle.client) for idle in pool._idle))

    async def send(
        self, letter: Letter, *, begin: Callable[[], Awaitable[None]] | None = None, clock: Clock | None = None
    ) -> str:
        """Sends a letter; returns the server's last reply. Raises Unavailable, Unsure or Rejected.

        `begin` is awaited right before the message itself goes out, when the server has taken sender and recipient.
        `clock` is stopped while the letter waits for a free connection.
        """
        began = False

        async def note() -> None:
            nonlocal began
            if begin is not None:
                await begin()
            began = True

        async with self._turn(clock or Clock()):
            try:
                client = await self._take()
                reply = await _transact(client, letter, note)
            except aiosmtplib.SMTPNotSupported as error:
                raise Rejected(f"the mail server does not support it: {error}") from None
            except aiosmtplib.SMTPResponseException as error:
                raise _sorted(error) from None
            except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
                kind = Unsure if began else Unavailable
                raise kind(f"{type(error).__name__}: {error}") from None
            self._idle.append(_Idle(client, time.monotonic()))
        return reply

    @asynccontextmanager
    async def _turn(self, clock: Clock) -> AsyncIterator[None]:
        """One of the connections is the letter's; the wait for it is not a part of the attempt's time."""
        with clock.stopped():
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()

    async def _take(self) -> aiosmtplib.SMTP:
        while self._idle:
            idle = self._idle.pop()
            if idle.usable:
                return idle.client
            await _quit(idle.client)
        return await self._server.connect()


async def _transact(client: aiosmtplib.SMTP, letter: Letter, begin: Callable[[], Awaitable[None]]) -> str:
    """One mail transaction (RFC 5321 §3.3), step by step: the step that fails, and its reply, decide what to do."""
    try:
        if letter.needs_smtputf8:
            await _check_smtputf8(client)
        options = ["SMTPUTF8", "BODY=8BITMIME"] if letter.needs_smtputf8 else []
        encoding = "utf-8" if letter.needs_smtputf8 else "ascii"
        await client.mail(letter.sender, options=options, encoding=encoding)
        await client.rcpt(letter.recipient, encoding=encoding)
        await begin()
        reply = await client.data(letter.content, timeout=FINAL_REPLY_TIMEOUT_S)
    except BaseException:
        # cut off or refused: a fresh connection is cheaper than finding out what state the server is in
        client.close()
        raise
    return _readable(reply.code, reply.message)


async def _check_smtputf8(client: aiosmtplib.SMTP) -> None:
    if client.is_ehlo_or_helo_needed:  # without a login, and after STARTTLS, the client has not asked yet
        await client.ehlo()
    if not client.supports_extension("smtputf8"):
        raise aiosmtplib.SMTPNotSupported("SMTPUTF8, which the recipient's address needs")


def _readable(code: int, message: str) -> str:
    """A reply as text that JSON can hold: aiosmtplib turns bytes that are not UTF-8 into lone surrogates."""
    return f"{code} {message}".encode(errors="surrogateescape").decode(errors="replace")


def _sorted(error: aiosmtplib.SMTPResponseException) -> Unavailable | Rejected:
    """RFC 5321 §4.2.1: 4yz is transient, 5yz is permanent."""
    kind = Rejected if 500 <= error.code < 600 else Unavailable
    return kind(f"the mail server answered {_readable(error.code, error.message)}")


async def _quit(client: aiosmtplib.SMTP) -> None:
    with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        await asyncio.wait_for(client.quit(), timeout=1)
    client.close()

"""A mail server: where it is, how to speak with it, and opening a connection that is ready for letters."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self, get_args
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import structlog

from errand.mail.smtp.connection import Lost, SmtpConnection, Timeouts
from errand.mail.smtp.login import Login, Mechanism
from errand.mail.smtp.reply import SmtpReply
from errand.mail.verdict import Stage, Unavailable, refusal
from errand.resources.guard import outgoing_context
from errand.settings import is_loopback

log = structlog.get_logger("errand.mail")


class Tls(StrEnum):
    """How a connection is protected."""

    IMPLICIT = "implicit"
    """TLS from the first byte; the certificate is checked."""
    STARTTLS = "starttls"
    """TLS after STARTTLS or no letter; the certificate is checked."""
    OPPORTUNISTIC = "opportunistic"
    """TLS if the server offers it, with any certificate (RFC 7435): against those who listen, not who interfere."""
    NONE = "none"


OLD_NAMES = {"auto": Tls.OPPORTUNISTIC, "required": Tls.STARTTLS, "never": Tls.NONE}
"""The values of `starttls=`."""


OPTIONS = frozenset({"tls", "starttls", "ca_file", "auth", "password_file", "source"})


NOT_READABLE = (
    "SMTP_URL: must be smtp[s]://[user:password@]host[:port][?tls=starttls|opportunistic|none], "
    "with / ? # % in user or password as %2F %3F %23 %25"
)


HELO_CODES = frozenset({500, 501, 502, 504, 550})
"""What old servers answer to EHLO; HELO may still be welcome."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """`smtp[s]://[user:password@]host[:port]`, with the options `tls`, `ca_file`, `auth`, `password_file`, `source`."""

    host: str
    port: int
    tls: Tls = Tls.OPPORTUNISTIC
    login: Login | None = None
    ca_file: str | None = None
    """Certificates to trust, in PEM; None: the system's."""
    source: str | None = None
    """The local IP address to connect from."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """STARTTLS is required by default if a password would travel to another machine. Raises ValueError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # the standard library's message quotes what it could not read, perhaps a piece of the password
            raise ValueError(NOT_READABLE) from None
        options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if not options.keys() <= OPTIONS or parts.path.strip("/") or parts.fragment:
            raise ValueError(NOT_READABLE)
        tls = _tls_of(parts, options)
        return cls(
            host=parts.hostname or "localhost",
            port=port or (465 if tls is Tls.IMPLICIT else 587 if parts.username else 25),
            tls=tls,
            login=_login_of(parts, options),
            ca_file=_readable_ca(options.get("ca_file")),
            source=options.get("source"),
        )

    async def connect(self, *, name: str | None, timeouts: Timeouts) -> SmtpConnection:
        """A connection: greeted, under TLS if it is to be, logged in. `name` is what this side calls itself.

        Raises Unavailable, or SenderRefused if the server refuses who we are.
        """
        try:
            connection = await SmtpConnection.open(
                self.host,
                self.port,
                tls=self._context() if self.tls is Tls.IMPLICIT else None,
                source=self.source,
                timeouts=timeouts,
            )
        except Lost as error:
            raise Unavailable(f"no connection to the mail server: {error}", stage=Stage.CONNECT) from None
        try:
            async with asyncio.timeout(timeouts.ready_s):
                await self._open_session(connection, name or await own_name(connection))
        except TimeoutError:
            connection.close()
            raise Unavailable("the mail server was not ready for letters in time", stage=Stage.HELLO) from None
        except BaseException:
            connection.close()
            raise
        return connection

    async def _open_session(self, connection: SmtpConnection, name: str) -> None:
        greeting = await _reply(connection, Stage.CONNECT)
        if greeting.code != 220:
            raise refusal(greeting, Stage.CONNECT)
        await _say_hello(connection, name)
        if self.tls in (Tls.STARTTLS, Tls.OPPORTUNISTIC):
            await self._protect(connection, name)
        if self.login is not None:
            await self.login.perform(connection)

    async def _protect(self, connection: SmtpConnection, name: str) -> None:
        """STARTTLS. Once it was offered, nothing goes on without it: a failed attempt never ends in plain text."""
        if "STARTTLS" not in connection.extensions:
            if self.tls is Tls.STARTTLS:
                raise Unavailable("the mail server does not offer STARTTLS, which is required", stage=Stage.TLS)
            if not is_loopback(self.host):
                log.warning("letters travel in plain text: the mail server offers no STARTTLS", host=self.host)
            return
        reply = await _reply(connection, Stage.TLS, "STARTTLS")
        if reply.code != 220:
            raise refusal(reply, Stage.TLS)
        try:
            await connection.start_tls(self._context(), host=self.host)
        except Lost as error:
            raise Unavailable(f"no TLS with the mail server: {error}", stage=Stage.TLS) from None
        await _say_hello(connection, name)

    def _context(self) -> ssl.SSLContext:
        context = outgoing_context(cafile=self.ca_file)
        if self.tls is Tls.OPPORTUNISTIC:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def _tls_of(parts: SplitResult, options: dict[str, str]) -> Tls:
    if parts.scheme == "smtps":
        if {"tls", "starttls"} & options.keys() and options.get("tls") != Tls.IMPLICIT:
            raise ValueError("SMTP_URL: smtps:// is TLS from the start, and has no other tls=")
        return Tls.IMPLICIT
    if "starttls" in options:
        if options["starttls"] not in OLD_NAMES or "tls" in options:
            raise ValueError("SMTP_URL: starttls must be auto, required or never")
        return OLD_NAMES[options["starttls"]]
    secret_travels = parts.username is not None and not is_loopback(parts.hostname or "localhost")
    try:
        return Tls(options.get("tls", Tls.STARTTLS if secret_travels else Tls.OPPORTUNISTIC))
    except ValueError:
        raise ValueError("SMTP_URL: tls must be implicit, starttls, opportunistic or none") from None


def _login_of(parts: SplitResult, options: dict[str, str]) -> Login | None:
    mechanism = options.get("auth")
    if mechanism not in (None, *get_args(Mechanism)):
        raise ValueError("SMTP_URL: auth must be plain, login or xoauth2")
    if parts.username is None:
        if {"auth", "password_file"} & options.keys():
            raise ValueError("SMTP_URL: auth and password_file need a user: smtp://user@host")
        return None
    file = options.get("password_file")
    return Login(
        username=unquote(parts.username),
        password=unquote(parts.password) if parts.password else None,
        password_file=Path(file) if file else None,
        mechanism=mechanism,  # type: ignore[arg-type]  # looked at above
    )


def _readable_ca(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        ssl.create_default_context(cafile=file)
    except (OSError, ValueError):
        raise ValueError("SMTP_URL: its ca_file cannot be read, or holds no certificate in PEM") from None
    return file


async def own_name(connection: SmtpConnection) -> str:
    """This host's name if it has a full one, else the address of this end as RFC 5321 §4.1.3 writes it."""
    name = await asyncio.to_thread(socket.getfqdn)
    if "." in name and not name.startswith("localhost") and not name.endswith((".arpa", ".local", ".localdomain")):
        return name
    address = connection.local_address
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


async def _say_hello(connection: SmtpConnection, name: str) -> None:
    reply = await _reply(connection, Stage.HELLO, f"EHLO {name}")
    if reply.code == 250:
        connection.extensions = _extensions(reply)
        return
    if reply.code in HELO_CODES:
        reply = await _reply(connection, Stage.HELLO, f"HELO {name}")
    if reply.code != 250:
        raise refusal(reply, Stage.HELLO)


async def _reply(connection: SmtpConnection, stage: Stage, command: str | None = None) -> SmtpReply:
    try:
        return await (connection.reply() if command is None else connection.command(command))
    except Lost as error:
        raise Unavailable(f"the mail server at {stage.name}: {error}", stage=stage) from None


def _extensions(reply: SmtpReply) -> dict[str, str]:
    """By keyword; the first line is the server's name. `AUTH=` is how servers wrote it before RFC 2554."""
    found: dict[str, str] = {}
    for line in reply.text.split("\n")[1:]:
        keyword, _, rest = line.replace("AUTH=", "AUTH ", 1).partition(" ")
        if keyword:
            found[keyword.upper()] = f"{found.get(keyword.upper(), '')} {rest}".strip()
    return found

"""Logging in to a mail server: PLAIN and LOGIN with a password, XOAUTH2 with a token (RFC 4954, RFC 4616)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from errand.mail.smtp.connection import Lost, SmtpConnection
from errand.mail.smtp.reply import SmtpReply
from errand.mail.verdict import SenderRefused, Stage, Unavailable, refusal
from errand.secrets.redaction import hiding

Mechanism = Literal["plain", "login", "xoauth2"]


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, and by which mechanism."""

    username: str
    password: str | None = field(repr=False)
    """For XOAUTH2 the token."""
    password_file: Path | None = None
    """Read at each login, so that a password or token can be changed without a restart."""
    mechanism: Mechanism | None = None
    """None: PLAIN if the server offers it, else LOGIN."""

    async def perform(self, connection: SmtpConnection) -> None:
        """Logs in. Raises Unavailable, or SenderRefused if the server does not accept it."""
        offered = connection.extensions.get("AUTH", "").lower().split()
        mechanism = self.mechanism or ("plain" if "plain" in offered else "login")
        if mechanism not in offered:
            raise SenderRefused(f"the mail server does not offer AUTH {mechanism.upper()}", stage=Stage.LOGIN)
        secret = await self._secret()
        # a server may repeat what it does not understand
        hide = hiding((secret, *(_encoded(written(self.username, secret)) for written in _WRITTEN)))
        try:
            reply = await _SPOKEN[mechanism](connection, self.username, secret)
        except Lost as error:
            raise Unavailable(f"while logging in: {hide(str(error))}", stage=Stage.LOGIN) from None
        if reply.code != 235:
            raise refusal(SmtpReply(reply.code, hide(reply.text)), Stage.LOGIN)

    async def _secret(self) -> str:
        if self.password_file is None:
            return self.password or ""
        try:
            return (await asyncio.to_thread(self.password_file.read_text)).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SenderRefused(f"SMTP_URL: its password_file: {type(error).__name__}", stage=Stage.LOGIN) from None


def _for_plain(username: str, password: str) -> str:
    return f"\0{username}\0{password}"


def _for_login(_: str, password: str) -> str:
    return password


def _for_xoauth2(username: str, token: str) -> str:
    return f"user={username}\x01auth=Bearer {token}\x01\x01"


_WRITTEN = (_for_plain, _for_login, _for_xoauth2)
"""What stands in base64 in the command of each mechanism."""


async def _plain(connection: SmtpConnection, username: str, password: str) -> SmtpReply:
    return await connection.command(f"AUTH PLAIN {_encoded(_for_plain(username, password))}")


async def _login(connection: SmtpConnection, username: str, password: str) -> SmtpReply:
    """Two questions, whatever words they are asked in; the first is for the name."""
    reply = await connection.command("AUTH LOGIN")
    for answer in (username, password):
        if reply.code != 334:
            return reply
        reply = await connection.command(_encoded(answer))
    return reply


async def _xoauth2(connection: SmtpConnection, username: str, token: str) -> SmtpReply:
    reply = await connection.command(f"AUTH XOAUTH2 {_encoded(_for_xoauth2(username, token))}")
    if reply.code == 334:  # why not, in base64: the refusal itself follows an empty line
        reply = await connection.command("")
    return reply


_SPOKEN = {"plain": _plain, "login": _login, "xoauth2": _xoauth2}


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()

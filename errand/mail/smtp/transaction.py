"""One letter over one connection: MAIL, RCPT, DATA, the message, the final dot (RFC 5321 §3.3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from errand.mail.letter import Letter
from errand.mail.smtp.connection import Lost, SmtpConnection
from errand.mail.smtp.reply import SmtpReply
from errand.mail.verdict import NotSupported, Refusal, Stage, TooLarge, Unavailable, Unsure, refusal

LINE_END = re.compile(rb"\r\n|\r|\n")


READ_AT_ONCE_BYTES = 1024 * 1024
"""To look through a letter of 25 MB takes 70 ms."""


async def transact(
    connection: SmtpConnection, letter: Letter, *, begin: Callable[[], Awaitable[None]], kept: bool = False
) -> SmtpReply:
    """The server's reply to the final dot, by which it has taken the letter over.

    `begin` is awaited when the server has taken sender and recipients, right before DATA. `kept`: the connection
    carried other letters before, and is not waited for long. Raises Unavailable, SenderRefused, Rejected, Unsure.
    """
    within_s = connection.timeouts.kept_s if kept else None
    await _command(connection, Stage.MAIL, _mail_command(connection, letter), within_s=within_s)
    for recipient in letter.recipients:
        with _about(recipient):
            await _command(connection, Stage.RCPT, f"RCPT TO:<{recipient}>")
    await begin()
    await _command(connection, Stage.DATA, "DATA", good=(354,), within_s=connection.timeouts.data_s)
    with _about(letter.recipients[0] if len(letter.recipients) == 1 else None):
        return await _hand_over(connection, letter.content)


@contextmanager
def _about(recipient: str | None) -> Iterator[None]:
    """A refusal inside is about that recipient."""
    try:
        yield
    except Refusal as error:
        error.recipient = recipient
        raise


async def _hand_over(connection: SmtpConnection, content: bytes) -> SmtpReply:
    """The message. Until the dot is on its way the server must not deliver it; from then on only its reply says."""
    try:
        is_small = len(content) <= READ_AT_ONCE_BYTES
        await connection.write(_as_sent(content) if is_small else await asyncio.to_thread(_as_sent, content))
    except Lost as error:
        raise Unavailable(f"in the middle of the message: {error}", stage=Stage.DATA) from None
    try:
        await connection.write(b"\r\n.\r\n")
        reply = await connection.reply(within_s=connection.timeouts.final_s)
    except Lost as error:
        raise Unsure(f"after the message: {error}", stage=Stage.CONTENT) from None
    if 200 <= reply.code <= 299:
        return reply
    raise refusal(reply, Stage.CONTENT)


def _as_sent(content: bytes) -> bytes:
    """With dots doubled, CRLF for every line end, and none at its end: there the final dot brings one.

    At any other line end one server ends a message early and the next does not ("SMTP smuggling"). Letters have no
    others, and counting them is cheap.
    """
    line_ends = content.count(b"\r\n")
    if not line_ends == content.count(b"\n") == content.count(b"\r"):
        content = LINE_END.sub(b"\r\n", content)
    # no pattern: for a mebibyte of lines of a dot each it takes twenty times as long
    doubled = content.replace(b"\n.", b"\n..").removesuffix(b"\r\n")
    return b"." + doubled if doubled.startswith(b".") else doubled


def _mail_command(connection: SmtpConnection, letter: Letter) -> str:
    """Raises NotSupported for an address that the server cannot take, TooLarge for a letter that it cannot."""
    options = ""
    if letter.needs_smtputf8:
        if "SMTPUTF8" not in connection.extensions:
            raise NotSupported(
                "the mail server does not support SMTPUTF8, which an address of the letter needs", stage=Stage.MAIL
            )
        options = " BODY=8BITMIME SMTPUTF8"
    if "SIZE" in connection.extensions:
        size, limit = len(letter.content), connection.extensions["SIZE"]
        if limit.isdecimal() and 0 < int(limit) < size:
            raise TooLarge(f"the letter has {size} bytes, the mail server takes {limit}", stage=Stage.MAIL)
        options = f" SIZE={size}{options}"
    return f"MAIL FROM:<{letter.sender}>{options}"


async def _command(
    connection: SmtpConnection,
    stage: Stage,
    line: str,
    *,
    good: tuple[int, ...] = (250, 251, 252),
    within_s: float | None = None,
) -> SmtpReply:
    try:
        reply = await connection.command(line, within_s=within_s)
    except Lost as error:
        raise Unavailable(f"the mail server at {stage.name}: {error}", stage=stage) from None
    if reply.code not in good:
        raise refusal(reply, stage)
    return reply

"""One connection to a mail server: commands out, replies in, each within its time."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Self

from errand.mail.smtp.reply import LINE_LIMIT_BYTES, Malformed, PartialReply, SmtpReply

BLOCK_BYTES = 64 * 1024


FAULTS = (OSError, ssl.SSLError, TimeoutError, RuntimeError)
"""What a connection that breaks off raises; RuntimeError is uvloop's word for one that was reset a moment ago."""


class Lost(Exception):
    """The connection ended, timed out, or says what is no reply."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each step may take. From `command_s` on: RFC 5321 §4.5.3.2; who gives up sooner sends letters twice."""

    connect_s: float = 30
    """To a TCP connection, or from there to TLS."""
    kept_s: float = 10
    """For the first reply on a connection that was kept: if it does not come, a new one costs less than the wait."""
    leave_s: float = 1
    ready_s: float = 1500
    """Until it is greeted, under TLS and logged in: five commands. Nothing of a letter was sent by then."""
    command_s: float = 300
    data_s: float = 120
    block_s: float = 180
    final_s: float = 660
    """Ten minutes, and one for a server that takes all of them."""


class _Lines(asyncio.StreamReader):
    """Knows whether something lies unread in it."""

    def __init__(self) -> None:
        super().__init__(limit=LINE_LIMIT_BYTES)
        self._unread = 0

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # bytes is what transports give
        self._unread += len(data)
        super().feed_data(data)

    async def line(self) -> bytes:
        """The next line, without its end."""
        line = await self.readuntil(b"\n")
        self._unread -= len(line)
        return line.removesuffix(b"\n").removesuffix(b"\r")

    @property
    def is_empty(self) -> bool:
        return self._unread == 0


class SmtpConnection:
    """Made by `open`; closed by `close`, or politely by `quit`."""

    def __init__(self, reader: _Lines, writer: asyncio.StreamWriter, *, timeouts: Timeouts) -> None:
        self._reader = reader
        self._writer = writer
        self.timeouts = timeouts
        self.extensions: dict[str, str] = {}
        """What the server offered after EHLO, by its keyword in capitals."""

    @classmethod
    async def open(
        cls, host: str, port: int, *, tls: ssl.SSLContext | None, source: str | None, timeouts: Timeouts
    ) -> Self:
        """Connects; with `tls` it speaks TLS from the start. Raises Lost."""
        reader = _Lines()
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeouts.connect_s):
                transport, _ = await loop.create_connection(
                    lambda: protocol, host, port, ssl=tls, local_addr=(source, 0) if source else None
                )
        except FAULTS as error:
            raise Lost(_said(error)) from None
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop), timeouts=timeouts)

    @property
    def local_address(self) -> str:
        """The IP address of this end."""
        name = self._writer.get_extra_info("sockname")
        return str(name[0])

    @property
    def is_usable(self) -> bool:
        """The server has neither closed it nor said anything unasked."""
        return not self._writer.is_closing() and not self._reader.at_eof() and self._reader.is_empty

    async def command(self, line: str, *, within_s: float | None = None) -> SmtpReply:
        """The reply to a command. Raises Lost."""
        if "\r" in line or "\n" in line or "\0" in line:
            raise ValueError("a command is one line")
        if not self._reader.is_empty:
            raise Lost("the mail server said something unasked")
        try:
            self._writer.write(line.encode() + b"\r\n")
        except FAULTS as error:
            raise Lost(_said(error)) from None
        return await self.reply(within_s=within_s)

    async def reply(self, *, within_s: float | None = None) -> SmtpReply:
        """The next reply. Raises Lost if it does not come in time, or is none."""
        try:
            async with asyncio.timeout(self.timeouts.command_s if within_s is None else within_s):
                await self._writer.drain()
                return await self._whole_reply()
        except asyncio.IncompleteReadError:
            raise Lost("the mail server closed the connection") from None
        except asyncio.LimitOverrunError:
            raise Lost(f"a line of the reply is longer than {LINE_LIMIT_BYTES} bytes") from None
        except (*FAULTS, Malformed) as error:
            raise Lost(_said(error)) from None

    async def write(self, content: bytes) -> None:
        """Sends part of a message. Raises Lost if the server does not take it in time."""
        try:
            for start in range(0, len(content), BLOCK_BYTES):
                self._writer.write(content[start : start + BLOCK_BYTES])
                async with asyncio.timeout(self.timeouts.block_s):
                    await self._writer.drain()
        except FAULTS as error:
            raise Lost(_said(error)) from None
        if self._writer.is_closing() or self._reader.at_eof():
            raise Lost("the mail server closed the connection")

    async def start_tls(self, context: ssl.SSLContext, *, host: str) -> None:
        """TLS from here on. What the server offered before it counts no more (RFC 3207 §4.2). Raises Lost."""
        if not self._reader.is_empty:
            # somebody on the way has put plain text in front of what is to come under TLS
            raise Lost("the mail server spoke after its reply to STARTTLS: plain text injected on the way?")
        self.extensions = {}
        try:
            async with asyncio.timeout(self.timeouts.connect_s):
                await self._writer.start_tls(context, server_hostname=host)
        except FAULTS as error:
            raise Lost(_said(error)) from None

    async def quit(self) -> None:
        """Closes it politely, if the server still listens."""
        if self.is_usable:
            with contextlib.suppress(Lost):
                await self.command("QUIT", within_s=self.timeouts.leave_s)
        self.close()

    def close(self) -> None:
        """At once, in whatever state it is."""
        transport = self._writer.transport
        transport.abort()

    async def _whole_reply(self) -> SmtpReply:
        partial = PartialReply()
        while (reply := partial.add(await self._reader.line())) is None:
            pass
        return reply


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")

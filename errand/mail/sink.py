"""A real SMTP server for a machine without one: it keeps messages as files, and nothing leaves the machine."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from errand import private_folder
from errand.mail.kept_letters import label_of
from errand.settings.mail import SinkFault

log = structlog.get_logger("errand.mail_sink")


HOST = "127.0.0.1"


SIZE_LIMIT_BYTES = 32 * 1024 * 1024


class MailFolder:
    """Keeps each message as `<time>-<message-id>.eml`; a message that is sent twice has two files."""

    def __init__(self, folder: Path, *, faults: Sequence[SinkFault] = ()) -> None:
        self._folder = folder
        self._faults = faults

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Answers 250 once the message is on the disk, as a mail server must (RFC 5321 §6.1)."""
        if (fault := self._chosen_fault()) is not None:
            if fault.code is None and isinstance(server.transport, asyncio.Transport):
                server.transport.abort()
            return f"{fault.code or 421} asked for by SINK_FAULTS"
        content: bytes = envelope.original_content or b""
        try:
            await asyncio.to_thread(self._keep, content)
        except OSError as error:  # a full disk, say; aiosmtpd would answer 500, which means never
            log.error("message not kept", error=str(error))
            return "452 4.3.1 could not be kept"
        return "250 2.0.0 kept"

    def _chosen_fault(self) -> SinkFault | None:
        """One of them, as often as its rate says; their rates add up."""
        drawn = random.random()  # noqa: S311  # to watch retries by
        for fault in self._faults:
            if drawn < fault.rate:
                return fault
            drawn -= fault.rate
        return None

    def _keep(self, content: bytes) -> None:
        headers = BytesHeaderParser(policy=policy.default).parsebytes(content)
        private_folder.make(self._folder)
        kept = self._folder / f"{time.time_ns()}-{label_of(str(headers['Message-ID']))}.eml"
        unfinished = kept.with_suffix(".part")
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(kept)


@asynccontextmanager
async def opened_sink(folder: Path, *, faults: Sequence[SinkFault] = ()) -> AsyncIterator[str]:
    """Serves on a free loopback port for as long as the block lasts; yields its `smtp://` URL."""
    loop = asyncio.get_running_loop()
    keeper = MailFolder(folder, faults=faults)
    server = await loop.create_server(
        lambda: SMTP(
            keeper,
            data_size_limit=SIZE_LIMIT_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",  # else each connection has the name servers asked for it, on the event loop
            ident="Errand mail sink",
            loop=loop,
        ),
        host=HOST,
        port=0,
    )
    port = server.sockets[0].getsockname()[1]
    log.info("mail sink", keeps=str(folder))
    try:
        yield f"smtp://{HOST}:{port}"
    finally:
        server.close()

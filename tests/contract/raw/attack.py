"""Sends conversations over raw sockets, and says what went wrong with the answers."""

from __future__ import annotations

import asyncio
import contextlib
import re

from tests.contract.raw.messages import Conversation

ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")
REFUSALS = {400, 408, 413, 414, 431, 501, 505}
LIMIT_S = 60.0
"""An answer that has not come by then never comes."""


async def fault_of(port: int, sent: Conversation) -> str | None:
    """Sends it, and its end once what must be answered is. None if each certain request was answered as it must be."""
    try:
        async with asyncio.timeout(LIMIT_S):
            statuses = await _statuses(port, sent)
    except TimeoutError:
        return "it was neither answered nor closed"
    known = sent.statuses if sent.ends_well else sent.statuses[: len(statuses)]
    if statuses[: len(sent.statuses)] != known and not _is_cut_off(statuses, sent):
        return f"the answers are {statuses}, and should begin with {sent.statuses}"
    if 500 in statuses:
        return f"the answers are {statuses}"
    return None


def _is_cut_off(statuses: list[int], sent: Conversation) -> bool:
    """The refusal of what follows may take the place of an answer that was not ready."""
    return not sent.ends_well and statuses[:-1] == sent.statuses[: len(statuses) - 1] and statuses[-1] in REFUSALS


async def _statuses(port: int, sent: Conversation) -> list[int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = _Answers(reader, number=len(sent.statuses))
    reading = asyncio.create_task(answers.read())
    try:
        with contextlib.suppress(OSError):  # it has been closed already
            for piece in sent.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            # uvicorn leaves a client that has closed its side without the answers that are still due
            await answers.are_there.wait()
            writer.write_eof()
        await reading
        return answers.statuses
    finally:
        reading.cancel()
        writer.transport.abort()


class _Answers:
    """The answers of a connection, until its end or the reset that follows bytes which nobody wants any more."""

    def __init__(self, reader: asyncio.StreamReader, *, number: int) -> None:
        self._reader = reader
        self._number = number
        self._text = b""
        self.are_there = asyncio.Event()

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in ANSWER.findall(self._text)]

    async def read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while len(self.statuses) < self._number and (piece := await self._reader.read(65_536)):
                self._text += piece
            self.are_there.set()
            while piece := await self._reader.read(65_536):
                self._text += piece
        self.are_there.set()

"""How far a computation in another process is: lines in a named pipe, read as they come.

A process of the pool can open no socket and shares nothing with its worker but files; a pipe has no polling and ends
with the process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

Listener = Callable[[str], Awaitable[None]]
"""Called with each report, one after the other."""


def report(pipe: Path | None, text: str) -> None:
    """Called by the computation. Does nothing if nobody listens, or if the pipe is full: it is news, not an outcome."""
    if pipe is None:
        return
    with suppress(OSError):
        # waits neither for a reader nor for room
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, f"{text}\n".encode())
        finally:
            os.close(descriptor)


@asynccontextmanager
async def listening(pipe: Path, listener: Listener) -> AsyncIterator[None]:
    """Makes the pipe, and calls the listener for what is reported there within the block."""
    os.mkfifo(pipe, 0o600)
    reader = asyncio.StreamReader()
    # a non-blocking open for reading waits for no writer
    read_end = os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), read_end
    )
    # as long as this end is open the reader does not end, though writers come and go
    write_end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    listening_task = asyncio.create_task(_listen(reader, listener))
    try:
        yield
        os.close(write_end)
        write_end = -1
        await listening_task
    finally:
        if write_end >= 0:
            os.close(write_end)
        listening_task.cancel()
        transport.close()


@asynccontextmanager
async def listening_after(delay_s: float, pipe: Path, listener: Listener) -> AsyncIterator[None]:
    """The same, for what is reported once the block has lasted so long; what was reported before is not heard.

    To listen and to show what is heard takes as long as to make a small picture.
    """
    if not delay_s:
        async with listening(pipe, listener):
            yield
        return
    over, listening_tasks = asyncio.Event(), list[asyncio.Task[None]]()

    async def listen() -> None:
        async with listening(pipe, listener):
            await over.wait()

    timer = asyncio.get_running_loop().call_later(
        delay_s, lambda: listening_tasks.append(asyncio.create_task(listen()))
    )
    try:
        yield
        over.set()
        await asyncio.gather(*listening_tasks)
    finally:
        timer.cancel()
        for task in listening_tasks:
            task.cancel()


async def _listen(reader: asyncio.StreamReader, listener: Listener) -> None:
    async for line in reader:
        await listener(line.decode().strip())

"""Sends all open pages of this process what has changed: one message for all of them, at most twice a second.

A job that changes several times within a beat is in it once, as it is then. A page that is too slow for a beat is not
waited for: it is sent `missed`, and reads itself again. Two hundred pages cost little more than one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from redis.exceptions import RedisError

from errand.dashboard.wording import number
from errand.events.change import Change
from errand.events.feed import JobFeed, TooManyWatchers
from errand.events.watcher import ChangeBatch, EventFilter, Watcher
from errand.http.answers.event_stream import RETRY_MS
from errand.http.shared import Shared, in_time
from errand.monitor.queues import QueueState, read_queues

BEAT_S = 0.5

QUIET_S = 2.0
"""So often the numbers are read although no job has changed: time alone makes jobs due."""

MAX_JOBS = 200
"""In one message; a page that shows others reads itself again."""

HEARTBEAT_S = 15.0
"""A page that receives nothing for so long is sent a sign of life: proxies end a silent stream."""

STREAM_S = 600.0
"""After that a page comes back, and shows its cookie again: a session that has ended does not go on by a stream."""

MISSED, AWAY = b"event: missed\ndata: {}\n\n", b"event: away\ndata: {}\n\n"


class Pulse:
    """What the pages of one API process are sent."""

    def __init__(self, to: Shared) -> None:
        self._to = to
        self._number = 0
        self._message = self._numbers_alone = b""
        self._beat = asyncio.Event()
        self._pages = 0
        self._running: asyncio.Task[None] | None = None
        self._numbers: Mapping[str, str] = {}
        self._read_at_s = 0.0

    @property
    def feed(self) -> JobFeed:
        """Where it hears of changes."""
        return self._to.feed

    @property
    def pages(self) -> int:
        """How many are open."""
        return self._pages

    def open_page(self) -> None:
        """Counts a page; the first has the pulse begin."""
        self._pages += 1
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())

    def close_page(self) -> None:
        """After the last one nothing is read any more."""
        self._pages -= 1

    async def messages(self, over: asyncio.Event, *, jobs: bool = True) -> AsyncGenerator[bytes, None]:
        """What one page is sent, until `over` is set; without `jobs` one that shows none, in a tenth of the bytes."""
        yield b"retry: %d\nevent: open\ndata: {}\n\n" % RETRY_MS
        number, sent_s = self._number, time.monotonic()
        until_s = sent_s + STREAM_S
        while not over.is_set() and time.monotonic() < until_s:
            await self._beat.wait()
            behind, number = self._number - number, self._number
            if behind:
                yield MISSED if behind > 1 else self._message if jobs else self._numbers_alone
                sent_s = time.monotonic()
            elif time.monotonic() - sent_s > HEARTBEAT_S:
                yield b": still here\n\n"
                sent_s = time.monotonic()

    async def _run(self) -> None:
        while self._pages > 0:
            try:
                watcher = await self._to.feed.admit(EventFilter())
                try:
                    await self._follow(watcher)
                finally:
                    await self._to.feed.dismiss(watcher)
                self._send(MISSED)
            except (RedisError, OSError, TooManyWatchers):
                self._send(AWAY)
                await asyncio.sleep(BEAT_S)

    async def _follow(self, watcher: Watcher) -> None:
        """Returns when the last page is closed, or the watcher was ended: it was too slow, or changes are missing."""
        async for _ in self._to.feed.follow(watcher):
            pass
        while self._pages > 0 and watcher.ended is None:
            await asyncio.sleep(BEAT_S)
            batches = await watcher.take() if watcher.has_more else []
            await self._send_changes(_latest(batches))

    async def _send_changes(self, changes: Sequence[Change]) -> None:
        numbers = self._numbers
        if changes or time.monotonic() - self._read_at_s > QUIET_S:
            numbers, self._read_at_s = await self._read_numbers(), time.monotonic()
        if changes or numbers != self._numbers:
            self._numbers = numbers
            self._send(_message(changes, numbers), _message((), numbers))
        else:
            self._wake()

    async def _read_numbers(self) -> Mapping[str, str]:
        names, silent_s = list(self._to.queues), self._to.settings.lease_s
        return numbers_of(await in_time(read_queues(self._to.clients, names, silent_s=silent_s)))

    def _send(self, message: bytes, numbers_alone: bytes | None = None) -> None:
        self._number += 1
        self._message, self._numbers_alone = message, message if numbers_alone is None else numbers_alone
        self._wake()

    def _wake(self) -> None:
        beat, self._beat = self._beat, asyncio.Event()
        beat.set()


def numbers_of(queues: Sequence[QueueState]) -> dict[str, str]:
    """Each number that pages show, by the `data-n` of its element."""
    shown: dict[str, str] = {}
    for name, field in (("due", "due"), ("deferred", "deferred"), ("running", "in_progress"), ("dead", "dead")):
        shown[f"all:{name}"] = number(sum(getattr(queue, field) for queue in queues))
        shown |= {f"{queue.name}:{name}": number(getattr(queue, field)) for queue in queues}
    return shown


def _latest(batches: Sequence[ChangeBatch]) -> list[Change]:
    """Each job's last change."""
    return list({change.job_id: change for batch in batches for change in batch.changes}.values())


def _message(changes: Sequence[Change], numbers: Mapping[str, str]) -> bytes:
    jobs = [_shown(change) for change in changes[-MAX_JOBS:]]
    data = {"jobs": jobs, "more": len(changes) > MAX_JOBS, "numbers": numbers}
    return b"event: beat\ndata: %b\n\n" % to_json(data)


def _shown(change: Change) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": change.job_id, "type": change.type, "queue": change.queue, "attempt": change.attempt}
    if change.progress is not None:
        progress = {"fraction": change.progress.fraction, "note": change.progress.note}
        return {**shown, "status": "in_progress", "progress": progress}
    return {**shown, "status": change.kind}

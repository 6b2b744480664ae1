"""Calls `enqueue.lua`, the one way by which jobs get into a queue, and waits for replicas if they are asked for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from arq.connections import ArqRedis
from redis.exceptions import TimeoutError

from errand.queue.new_job import Answer, Entry
from errand.redis import script
from errand.redis.durability import Durability, Grade
from errand.redis.outage import REPLY_TIMEOUT_S, is_outage, within
from errand.redis.repair import repairing
from errand.redis.server_clock import ServerClock
from errand.wire import codec, keys
from errand.wire.flow import HELD_MS

T = TypeVar("T")

Tagged = tuple[list[bytes], list[int | bytes], int]
"""What the script answers: two lists, tags and details, with an entry for each job; and the server's time in ms.

An array for each job would cost a batch of 10,000 jobs 7 % more time, these two lists cost nothing measurable
(0.997 of what unnamed numbers took).
"""


CALLS = 3
"""The first may not know the server's clock, nor the second, if it is set just then."""


class Late(Exception):
    """The server had the call when its sender did not wait for it any more, and did nothing."""


class EnqueueScript:
    """The script for one queue. Raises redis' errors; an outage makes the durability doubtful."""

    def __init__(
        self, redis: ArqRedis, *, queue_key: str, limit: int, deadline_s: float | None, durability: Durability
    ) -> None:
        """`limit`: how many unfinished jobs the queue may hold, 0 without a limit; `deadline_s`: for one call."""
        self.redis = redis
        self.durability = durability
        self._queue_key = queue_key
        self._limit = limit
        self._deadline_s = deadline_s
        self.clock = ServerClock()
        self._script = script.load(redis, "queue/enqueue")

    async def put(self, entries: Sequence[Entry], *, together: bool = False, enforce: bool = True) -> list[Answer]:
        """One call for all entries; `together`: all are put, or none if they do not all fit the queue's limit.

        Without `enforce` they are put though the queue is full.
        """
        put = partial(self._put, entries, together=together, enforce=enforce, until_s=self.deadline())
        return await self.in_time(repairing(self.redis, self._queue_key, put))

    @property
    def has_limit(self) -> bool:
        return self._limit > 0

    async def has_room(self, jobs: int) -> bool:
        """True if the queue may hold so many more. Raises redis' errors."""
        return not self.has_limit or await self.redis.zcard(self._queue_key) + jobs <= self._limit

    def deadline(self) -> float | None:
        """Until when a call that begins now is waited for, on the monotonic clock."""
        return None if self._deadline_s is None else time.monotonic() + self._deadline_s

    def not_after(self, until_s: float | None) -> int | str:
        """Until when the server may do what a call that is sent now asks, by its clock: no longer than we wait for it.

        A call may lie in a socket for long, its sender having been answered that nothing was done. Not known until the
        server has said what time it is: it then refuses the call, says so, and the next one has it.
        """
        return "" if until_s is None else self.clock.at_ms(min(until_s, time.monotonic() + REPLY_TIMEOUT_S))

    async def in_time(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a call that may put jobs. Raises redis' TimeoutError when the deadline has passed."""
        try:
            return await within(self._deadline_s, call)
        except Exception as error:
            if is_outage(error):
                self.durability.doubt()
            raise

    async def _put(
        self, entries: Sequence[Entry], *, together: bool, enforce: bool, until_s: float | None
    ) -> list[Answer]:
        call = partial(self.call_for, entries, together=together, enforce=enforce)
        return await self.not_late(lambda: self._called(*call(not_after=self.not_after(until_s))))

    async def not_late(self, call: Callable[[], Awaitable[T]]) -> T:
        """The answers; those of another call if the first one was refused as late, by a clock that we did not know.

        Raises redis' TimeoutError if it was late.
        """
        for _ in range(CALLS):
            try:
                return await call()
            except Late:  # no `suppress`: each enqueue would pay for three calls more
                continue
        raise TimeoutError("the call reached Redis too late, and was refused")

    async def _called(
        self, called: script.Script, names: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> list[Answer]:
        wait = self.durability.wait
        if wait is None:
            return self.answers_of(await called(keys=names, args=arguments), self.durability.grade)
        # one WAIT behind the call, in the same write, stands for all of its jobs
        tagged, replicas = await script.call_then(self.redis, called, wait, keys=names, args=arguments)
        return self.answers_of(tagged, self.durability.grade_with(replicas))

    def answers_of(self, tagged: Tagged, durability: Grade) -> list[Answer]:
        """The script's two lists as an answer for each job. Raises Late."""
        tags, details, now_ms = tagged
        self.clock.learn(now_ms)
        if tags[:1] == [b"late"]:
            raise Late
        return [Answer(tag, detail, now_ms, durability) for tag, detail in zip(tags, details, strict=True)]

    def call_for(
        self, entries: Sequence[Entry], *, together: bool, enforce: bool = True, not_after: int | str = ""
    ) -> tuple[script.Script, list[str], list[str | bytes | int]]:
        """The script, its KEYS and its ARGV, for a transaction of several calls."""
        names: list[str] = [self._queue_key, keys.wake(self._queue_key), keys.running(self._queue_key)]
        jobs: list[str | bytes | int] = []
        for entry in entries:
            names += (keys.body(entry.job_id), keys.result(entry.job_id))
            run_at_ms = "" if entry.run_at_ms is None else entry.run_at_ms
            if entry.flow.needs is not None:
                run_at_ms = HELD_MS
            jobs += (entry.job_id, entry.body, entry.delay_ms, run_at_ms)
        # adds the keys that conditions name to the names
        conditions = self._conditions(entries, names)
        limit = self._limit if enforce else 0
        call = [keys.events(self._queue_key), limit, int(together), conditions, not_after, *jobs]
        return self._script, names, call

    def _conditions(self, entries: Sequence[Entry], names: list[str]) -> bytes:
        conditions = [
            self._condition(number, entry, names)
            for number, entry in enumerate(entries, start=1)
            if entry.is_conditional
        ]
        return codec.dumps(conditions) if conditions else b""

    def _condition(self, number: int, entry: Entry, names: list[str]) -> Mapping[str, Any]:
        condition: dict[str, Any] = {"job": number, "whole": bool(entry.stands_for)}
        if entry.idempotency is not None:
            names.append(keys.idempotency(self._queue_key, entry.idempotency.key))
            condition["mark"] = entry.idempotency.mark(
                at=len(names), enqueued_at_ms=entry.enqueued_at_ms, job_ids=entry.stands_for or [entry.job_id]
            )
        if entry.unique is not None:
            names.append(keys.unique(self._queue_key, entry.type_name, entry.unique.key))
            condition["unique"] = entry.unique.hold(at=len(names), replaces=entry.replaces)
        if entry.expires_in_ms is not None:
            condition["expires_in_ms"] = entry.expires_in_ms
        if entry.flow.concerns_others:
            condition["flow"] = entry.flow.for_script(
                self._queue_key, delay_ms=entry.delay_ms, run_at_ms=entry.run_at_ms
            )
        if entry.priority:
            condition["priority"] = entry.priority
        return condition

"""Calls `enqueue.lua`, the one way by which jobs get into a queue, and waits for replicas if they are asked for."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from arq.connections import ArqRedis
from redis.commands.core import AsyncScript

from errand.queue.new_job import Answer, Entry
from errand.redis import script
from errand.redis.durability import Durability, Grade
from errand.redis.outage import is_outage, within
from errand.redis.repair import repairing
from errand.wire import codec, keys

T = TypeVar("T")

Tagged = tuple[list[bytes], list[int | bytes]]
"""What the script answers: two lists, tags and details, with an entry for each job.

An array for each job would cost a batch of 10,000 jobs 7 % more time, these two lists cost nothing measurable
(0.997 of what unnamed numbers took).
"""


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
        self._script = script.load(redis, "queue/enqueue")

    async def put(self, entries: Sequence[Entry], *, together: bool = False) -> list[Answer]:
        """One call for all entries; `together`: all are put, or none if they do not all fit the queue's limit."""
        return await self.in_time(
            repairing(self.redis, self._queue_key, partial(self._put, entries, together=together))
        )

    async def in_time(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a call that may put jobs. Raises redis' TimeoutError when the deadline has passed."""
        try:
            return await within(self._deadline_s, call)
        except Exception as error:
            if is_outage(error):
                self.durability.doubt()
            raise

    async def _put(self, entries: Sequence[Entry], *, together: bool) -> list[Answer]:
        _, names, arguments = self.call_for(entries, together=together)
        wait = self.durability.wait
        if wait is None:
            return answers_of(await self._script(keys=names, args=arguments), self.durability.grade)
        # one WAIT behind the call, in the same write, stands for all of its jobs
        tagged, replicas = await script.call_then(self.redis, self._script, wait, keys=names, args=arguments)
        return answers_of(tagged, self.durability.grade_with(replicas))

    def call_for(
        self, entries: Sequence[Entry], *, together: bool
    ) -> tuple[AsyncScript, list[str], list[str | bytes | int]]:
        """The script, its KEYS and its ARGV, for a transaction of several calls."""
        names: list[str] = [self._queue_key, keys.wake(self._queue_key), keys.running(self._queue_key)]
        jobs: list[str | bytes | int] = []
        for entry in entries:
            names += (keys.body(entry.job_id), keys.result(entry.job_id))
            run_at_ms = "" if entry.run_at_ms is None else entry.run_at_ms
            jobs += (entry.job_id, entry.body, entry.delay_ms, run_at_ms)
        # adds the keys that conditions name to the names
        conditions = self._conditions(entries, names)
        return self._script, names, [keys.events(self._queue_key), self._limit, int(together), conditions, *jobs]

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
        return condition


def answers_of(tagged: Tagged, durability: Grade) -> list[Answer]:
    """The script's two lists as an answer for each job."""
    return [Answer(tag, detail, durability) for tag, detail in zip(*tagged, strict=True)]

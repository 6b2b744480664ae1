"""The producer's side of a queue: enqueue jobs, one or many, also into several queues at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from arq.connections import ArqRedis

from errand.queue.actions import QueueActions
from errand.queue.idempotency import FirstAnswer, Idempotency, RequestInFlight
from errand.queue.new_job import (
    EXISTS,
    Answer,
    Enqueued,
    Entry,
    NewJob,
    enqueued,
    entry_of,
    jobs_of,
    kept_out,
    new_entry,
)
from errand.queue.uniqueness import NotUnique, Unique
from errand.redis import script
from errand.redis.durability import Durability
from errand.redis.outage import is_outage, missed, within
from errand.wire import codec, keys
from errand.wire.limits import JobLimits

T = TypeVar("T")


MAX_BATCH = 10_000
"""A script call holds Redis up for everybody: this many jobs take it some tens of milliseconds."""


IN_FLIGHT_S = 60
"""How long a request may hold its key while it comes in; past it two may come in, of which one is acted on."""


REPLACE_ROUNDS = 3


class Queue(QueueActions):
    """One queue of jobs, in Arq's format: puts new ones, and acts on those it has."""

    def __init__(
        self,
        redis: ArqRedis,
        *,
        name: str = keys.DEFAULT_QUEUE,
        ended_ttl_s: float,
        deadline_s: float | None = None,
        durability: Durability | None = None,
        limit: int = 0,
    ) -> None:
        """`ended_ttl_s`: how long a cancelled job is kept. `deadline_s`: the longest that an enqueue may take.

        `durability` knows what stands behind a job; without it nothing is claimed but `memory`.
        `limit`: the most unfinished jobs that the queue may hold after an enqueue, deferred and running ones counted;
        0 without a limit.
        """
        super().__init__(redis, name=name, ended_ttl_s=ended_ttl_s)
        self._deadline_s = deadline_s
        self._durability = durability or Durability(redis)
        self._limit = limit
        self._enqueue = script.load(redis, "queue/enqueue")
        self._waiting: list[tuple[Entry, asyncio.Future[Answer]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def enqueue(
        self,
        type_name: str,
        args: Mapping[str, Any],
        *,
        job_id: str | None = None,
        delay_ms: int = 0,
        run_at_ms: int | None = None,
        idempotency: Idempotency | None = None,
        unique: Unique | None = None,
        limits: JobLimits | None = None,
    ) -> Enqueued:
        """Puts a job of that type; `args` are its keyword arguments, JSON values only.

        It is due `delay_ms` from now by Redis' clock, or at `run_at_ms` (ms since the epoch), at once where that
        has passed. Calls that are made while another is under way go to Redis together, where each is judged by
        itself, in their order. With `idempotency` the job of the first call under that key is returned again; raises
        KeyReused where that was another request. With `unique` raises NotUnique where another job holds the key and
        does not give way. Raises JobExists, QueueFull, and redis' errors where Redis is away.
        """
        entry = new_entry(
            type_name,
            args,
            job_id=job_id,
            delay_ms=delay_ms,
            run_at_ms=run_at_ms,
            idempotency=idempotency,
            unique=unique,
            limits=limits,
        )
        try:
            return enqueued(self.name, entry, await self._put_with_others(entry))
        except NotUnique as conflict:
            if unique is None or not unique.replace:
                raise
            return await self._put_in_place_of(conflict, entry)

    async def _put_with_others(self, entry: Entry) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, answer))
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._send_waiting())
        return await answer

    async def enqueue_many(
        self,
        type_name: str,
        many_args: Iterable[Mapping[str, Any]],
        *,
        delay_ms: int = 0,
        run_at_ms: int | None = None,
        idempotency: Idempotency | None = None,
        limits: JobLimits | None = None,
    ) -> list[Enqueued]:
        """Puts up to 10,000 jobs of one type in one call: all or none.

        With `idempotency` the jobs of the first call under that key are returned again; raises KeyReused where that was
        another request. Raises ValueError for more jobs, QueueFull where they do not all fit, and redis' errors where
        Redis is away.
        """
        entries = [
            new_entry(type_name, args, job_id=None, delay_ms=delay_ms, run_at_ms=run_at_ms, limits=limits)
            for args in many_args
        ]
        if len(entries) > MAX_BATCH:
            raise ValueError(f"{len(entries)} jobs are over the limit of {MAX_BATCH} for one call")
        if entries and idempotency:
            # the first of a call stands for all of it
            entries[0] = replace(entries[0], idempotency=idempotency, stands_for=[entry.job_id for entry in entries])
        answers = await self._put_in_time(entries, together=True) if entries else []
        if answers and isinstance(instead := answers[0][0], bytes):
            return kept_out(entries[0], instead, answers[0][1])
        return [enqueued(self.name, entry, answer) for entry, answer in zip(entries, answers, strict=True)]

    async def begin_request(self, key: str) -> FirstAnswer | None:
        """Holds an idempotency key while a long request comes in, or returns what its first request was answered.

        Raises RequestInFlight while another one holds it. To be followed by `end_request`; after a minute the key
        comes free by itself, also where the process has died. It only spares work: what decides is the enqueue.
        """
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.get(keys.idempotency(self.key, key))
            transaction.set(keys.in_flight(self.key, key), 1, nx=True, ex=IN_FLIGHT_S)
            kept, started = await within(self._deadline_s, transaction.execute())
        if kept is None and not started:
            raise RequestInFlight
        return None if kept is None else FirstAnswer.parse(kept)

    async def end_request(self, key: str) -> None:
        """The request under that key has come in, or has failed."""

        async def free() -> None:
            await self._redis.delete(keys.in_flight(self.key, key))

        # an outage must not take the answer from a request whose job was put
        with missed():
            await within(self._deadline_s, free())

    def answered_again(self, first: FirstAnswer) -> list[Enqueued]:
        """The jobs of an earlier request, as its answer named them."""
        return jobs_of(first, self._durability.grade)

    async def _send_waiting(self) -> None:
        """One call after another, each with all that came during the one before; no timer holds anything back."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._send(group)
        finally:
            self._sender = None

    async def _send(self, group: Sequence[tuple[Entry, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._put_in_time([entry for entry, _ in group])
        except BaseException as error:  # every caller gets the error; a cancelled sender must not leave one waiting
            # who waited meanwhile as well: behind a silent Redis each group would wait as long as this one did
            group, self._waiting = [*group, *self._waiting], []
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, answer), put in zip(group, answers, strict=True):
                if not answer.done():
                    answer.set_result(put)

    async def _put_in_time(self, entries: Sequence[Entry], *, together: bool = False) -> list[Answer]:
        return await self._in_time(self._put(entries, together=together))

    async def _in_time(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return await within(self._deadline_s, call)
        except Exception as error:
            if is_outage(error):
                self._durability.doubt()
            raise

    async def _put(self, entries: Sequence[Entry], *, together: bool) -> list[Answer]:
        """One script call; replicas are waited for by the same write, once for all."""
        names, arguments = self._call_for(entries, together=together)
        answers: list[int | bytes]
        if (wait := self._durability.wait) is None:
            answers = await self._enqueue(keys=names, args=arguments)
            durability = self._durability.grade
        else:
            answers, replicas = await script.call_then(self._redis, self._enqueue, wait, keys=names, args=arguments)
            durability = self._durability.grade_with(replicas)
        return [(answer, durability) for answer in answers]

    def _call_for(self, entries: Sequence[Entry], *, together: bool) -> tuple[list[str], list[str | bytes | int]]:
        """KEYS and ARGV of the script."""
        names: list[str] = [self.key, keys.wake(self.key), keys.running(self.key)]
        arguments: list[str | bytes | int] = [keys.events(self.key), self._limit, int(together), ""]
        for entry in entries:
            names += (keys.body(entry.job_id), keys.result(entry.job_id))
            run_at_ms = "" if entry.run_at_ms is None else entry.run_at_ms
            arguments += (entry.job_id, entry.body, entry.delay_ms, run_at_ms)
        if any(entry.on_terms for entry in entries):
            arguments[3] = self._terms_of(entries, names)
        return names, arguments

    def _terms_of(self, entries: Sequence[Entry], names: list[str]) -> bytes:
        """The script's terms; the keys that they speak of are added to its `names`."""
        terms: list[dict[str, Any]] = []
        for number, entry in enumerate(entries, start=1):
            if not entry.on_terms:
                continue
            term: dict[str, Any] = {"job": number, "whole": bool(entry.stands_for)}
            if entry.idempotency is not None:
                names.append(keys.idempotency(self.key, entry.idempotency.key))
                term["mark"] = entry.idempotency.mark(
                    at=len(names), enqueued_at_ms=entry.enqueued_at_ms, job_ids=entry.stands_for or [entry.job_id]
                )
            if entry.unique is not None:
                names.append(keys.unique(self.key, entry.type_name, entry.unique.key))
                term["unique"] = entry.unique.hold(at=len(names), replaces=entry.replaces)
            terms.append(term)
        return codec.dumps(terms)

    async def _put_in_place_of(self, conflict: NotUnique, entry: Entry) -> Enqueued:
        """Cancels the waiting job that holds the unique key and puts this one, in one transaction.

        Raises NotUnique where it runs, or has ended and holds the key for a while.
        """
        for _ in range(REPLACE_ROUNDS):
            if conflict.state != "waiting":
                break
            try:
                answer = await self._in_time(self._replace(replace(entry, replaces=conflict.job_id)))
                return enqueued(self.name, entry, answer)
            except NotUnique as next_conflict:
                # it began meanwhile, or somebody else was quicker
                conflict = next_conflict
        raise conflict

    async def _replace(self, entry: Entry) -> Answer:
        assert entry.replaces is not None
        cancelling = await self._cancel_call(entry.replaces, spare_running=True)
        calls = [(self._cancel, *cancelling), (self._enqueue, *self._call_for([entry], together=False))]
        wait = self._durability.wait
        (_, (answer,)), replicas = await script.call_together(self._redis, calls, wait)
        return answer, self._durability.grade_with(replicas) if wait else self._durability.grade


async def enqueue_together(jobs: Sequence[tuple[Queue, NewJob]]) -> list[Enqueued | None]:
    """Puts jobs of any types into queues of one Redis in one call: all, or none where Redis is away.

    Those of one queue that are due at once are claimed in this order, as long as their ids sort so. A job whose id
    exists is left as it is (None in its place), the others are put. Raises redis' errors. For queues without a limit:
    those of a transaction cannot wait for each other's room.
    """
    if not jobs:
        return []
    if len(jobs) == 1:
        return [await _enqueue_one(*jobs[0])]
    by_queue: dict[Queue, list[Entry]] = {}
    for queue, job in jobs:
        by_queue.setdefault(queue, []).append(entry_of(job))
    if len(by_queue) == 1:
        ((queue, entries),) = by_queue.items()
        answers = [await queue._put_in_time(entries, together=True)]
    else:
        answers = await jobs[0][0]._in_time(_put_in_one_transaction(by_queue))
    put = {
        entry.job_id: _unless_it_exists(queue, entry, answer)
        for (queue, entries), of_queue in zip(by_queue.items(), answers, strict=True)
        for entry, answer in zip(entries, of_queue, strict=True)
    }
    return [put[job.job_id] for _, job in jobs]


async def _enqueue_one(queue: Queue, job: NewJob) -> Enqueued | None:
    """By the way that shares its call with others who enqueue at the moment."""
    entry = entry_of(job)
    return _unless_it_exists(queue, entry, await queue._put_with_others(entry))


def _unless_it_exists(queue: Queue, entry: Entry, answer: Answer) -> Enqueued | None:
    return None if answer[0] == EXISTS else enqueued(queue.name, entry, answer)


async def _put_in_one_transaction(by_queue: Mapping[Queue, Sequence[Entry]]) -> list[list[Answer]]:
    """One script call for each queue, so that each touches the keys of its own queue alone; replicas once for all."""
    first = next(iter(by_queue))
    wait = first._durability.wait
    calls = [(queue._enqueue, *queue._call_for(entries, together=True)) for queue, entries in by_queue.items()]
    answers, replicas = await script.call_together(first._redis, calls, wait)
    durability = first._durability.grade_with(replicas) if wait else first._durability.grade
    return [[(due_at_ms, durability) for due_at_ms in of_queue] for of_queue in answers]

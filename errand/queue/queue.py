"""The producer's side of a queue: enqueues jobs, one or many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypedDict

from arq.connections import ArqRedis

from errand.queue.actions import QueueActions
from errand.queue.enqueue_script import EnqueueScript, Late
from errand.queue.idempotency import FirstAnswer, Idempotency, RequestInFlight
from errand.queue.new_job import Answer, Enqueued, Entry, JobExists, enqueued, first_answered, jobs_of, new_entry
from errand.queue.sender import MAX_BATCH, Sender
from errand.queue.uniqueness import NotUnique, Unique
from errand.redis import script
from errand.redis.durability import Durability
from errand.redis.outage import missed, within
from errand.redis.rows import TURN_BYTES
from errand.tracing import current
from errand.wire import keys
from errand.wire.flow import NO_FLOW, Flow
from errand.wire.job_id import new_job_id, new_job_ids
from errand.wire.limits import JobLimits

IN_FLIGHT_S = 60
"""How long a request may hold its key while it comes in; past it two may come in, of which one is acted on."""


REPLACE_ROUNDS = 3


JOB_BYTES = 512
"""To write a job costs as much as so many bytes more of its args."""


class PutOptions(TypedDict, total=False):
    """Parameters of `Queue.enqueue` and `Queue.enqueue_many` that say nothing of where a job lies."""

    delay_ms: int
    run_at_ms: int | None
    limits: JobLimits | None


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
        new_ids: Callable[[int], list[str]] | None = None,
    ) -> None:
        """`ended_ttl_s`: how long a cancelled job is kept. `deadline_s`: the longest that an enqueue may take.

        `durability` knows what stands behind a job; without it nothing is claimed but `memory`.
        `limit`: how many unfinished jobs, deferred and running ones included, the queue may hold after an enqueue;
        0 without a limit. `new_ids` draws so many ids that belong here.
        """
        super().__init__(redis, name=name, ended_ttl_s=ended_ttl_s)
        self._deadline_s = deadline_s
        self._new_ids = new_ids or new_job_ids
        self._takes_any_id = new_ids is None
        self._durability = durability or Durability(redis)
        self.script = EnqueueScript(
            redis, queue_key=self.key, limit=limit, deadline_s=deadline_s, durability=self._durability
        )
        self.sender = Sender(self.script.put)

    @property
    def undivided(self) -> Self:
        """Itself: it lies in one partition."""
        return self

    async def enqueue(
        self,
        type_name: str,
        args: Mapping[str, Any],
        *,
        job_id: str | None = None,
        drawn_id: str | None = None,
        delay_ms: int = 0,
        run_at_ms: int | None = None,
        idempotency: Idempotency | None = None,
        unique: Unique | None = None,
        limits: JobLimits | None = None,
        flow: Flow = NO_FLOW,
    ) -> Enqueued:
        """Puts a job of that type; `args` are its keyword arguments, JSON values only.

        It is due `delay_ms` from now by Redis' clock, or at `run_at_ms` (ms since the epoch), at once if that has
        passed. `drawn_id` is its id if a caller must know it before, and says nothing of where it lies. Calls that are
        made while another is under way go to Redis together; Redis judges each by itself, in
        their order. With `idempotency` the job of the first call under that key is returned again.

        Raises KeyReused if the first call under that key was another request, NotUnique if another job holds the key
        of `unique` and does not give way, JobExists, QueueFull, UnknownDependency, and redis' errors if Redis is away.
        """
        is_named, job_id = job_id is not None, job_id or drawn_id
        if job_id is None:
            # one at a time, an id alone is drawn in a third of the time
            job_id = new_job_id() if self._takes_any_id else self._new_ids(1)[0]
        with current.putting(type_name, self.name, job_id=job_id) as origin:
            entry = new_entry(
                type_name,
                args,
                job_id=job_id,
                delay_ms=delay_ms,
                run_at_ms=run_at_ms,
                idempotency=idempotency,
                unique=unique,
                limits=limits,
                flow=flow,
                origin=origin,
            )
            try:
                return enqueued(self.name, entry, await self.sender.send(entry))
            except NotUnique as conflict:
                if unique is None or not unique.replace:
                    raise
                # the holder must not give way to a job that is not put then
                if is_named and await self.has_key(keys.body(job_id), keys.result(job_id)):
                    raise JobExists(job_id) from None
                return await self._replace_holder(conflict, entry)

    async def enqueue_many(
        self,
        type_name: str,
        many_args: Iterable[Mapping[str, Any]],
        *,
        delay_ms: int = 0,
        run_at_ms: int | None = None,
        idempotency: Idempotency | None = None,
        limits: JobLimits | None = None,
        flow: Flow = NO_FLOW,
    ) -> list[Enqueued]:
        """Puts up to 10,000 jobs of one type in one call: all or none.

        With `idempotency` the jobs of the first call under that key are returned again.

        Raises KeyReused if the first call under that key was another request, ValueError for more jobs, QueueFull if
        they do not all fit, and redis' errors if Redis is away.
        """
        many_args = list(many_args)
        if len(many_args) > MAX_BATCH:
            raise ValueError(f"{len(many_args)} jobs are over the limit of {MAX_BATCH} for one call")
        with current.putting(type_name, self.name) as origin:
            current.note_number(len(many_args))
            entries: list[Entry] = []
            written_bytes = 0
            for job_id, args in zip(self._new_ids(len(many_args)), many_args, strict=True):
                # others have a turn of the loop; by `in_turns` each job would cost a step of a generator more
                if written_bytes > TURN_BYTES:
                    written_bytes = 0
                    await asyncio.sleep(0)
                entry = new_entry(
                    type_name,
                    args,
                    job_id=job_id,
                    delay_ms=delay_ms,
                    run_at_ms=run_at_ms,
                    limits=limits,
                    flow=flow,
                    origin=origin,
                )
                entries.append(entry)
                written_bytes += JOB_BYTES + len(entry.body)
            return await self._put_all(entries, idempotency) if entries else []

    async def _put_all(self, entries: list[Entry], idempotency: Idempotency | None) -> list[Enqueued]:
        if idempotency:
            # the first of a call stands for all of it
            entries[0] = replace(entries[0], idempotency=idempotency, stands_for=[entry.job_id for entry in entries])
        answers = await self.script.put(entries, together=True)
        if answers[0].is_kept_out:
            return first_answered(entries[0], answers[0])
        return [enqueued(self.name, entry, answer) for entry, answer in zip(entries, answers, strict=True)]

    async def first_answer(self, idempotency: Idempotency) -> FirstAnswer | None:
        """The answer to the first request under that key; None if it was not used, or by a request that put no job.

        Raises KeyReused if that was another request, and redis' errors.
        """
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.get(keys.idempotency(self.key, idempotency.key))
            (kept,) = await within(self._deadline_s, pipeline.execute())
        return None if kept is None else FirstAnswer.parse(kept).given_to(idempotency.fingerprint)

    async def note_answer(self, idempotency: Idempotency, put: Sequence[Enqueued]) -> None:
        """Keeps the answer to a request whose jobs lie in another partition; missed if Redis is away."""
        condition = idempotency.mark(at=0, enqueued_at_ms=put[0].enqueued_at_ms, job_ids=[one.job_id for one in put])
        due_ms = -put[0].due_at_ms if put[0].deferred else put[0].due_at_ms

        async def keep() -> None:
            name = keys.idempotency(self.key, idempotency.key)
            await self._redis.set(name, f"{due_ms} {condition['record']}", px=condition["keep_ms"], nx=True)

        with missed():
            await within(self._deadline_s, keep())

    async def has_key(self, *names: str) -> bool:
        """True if Redis has a key of one of these names. Raises redis' errors."""

        async def ask() -> int:
            return int(await self._redis.exists(*names))

        return await within(self._deadline_s, ask()) > 0

    async def begin_request(self, key: str) -> FirstAnswer | None:
        """Holds an idempotency key while a long request comes in, or returns the answer to the first one under it.

        Raises RequestInFlight while another one holds it. To be followed by `end_request`; after a minute the key
        comes free by itself, also if the process has died. It only spares work: what decides is the enqueue.
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

    async def _replace_holder(self, conflict: NotUnique, entry: Entry) -> Enqueued:
        """Cancels the waiting job that holds the unique key and puts this one, in one transaction.

        Raises NotUnique if it runs, or has ended and holds the key for a while.
        """
        for _ in range(REPLACE_ROUNDS):
            if conflict.state != "waiting":
                break
            try:
                replacing = replace(entry, replaces=conflict.job_id)
                replaced = partial(self._replace, replacing, until_s=self.script.deadline())
                answer = await self.script.in_time(self.script.not_late(replaced))
                return replace(enqueued(self.name, entry, answer), replaced=conflict.job_id)
            except NotUnique as next_conflict:
                # it has started meanwhile, or another request was quicker
                conflict = next_conflict
        raise conflict

    async def _replace(self, entry: Entry, *, until_s: float | None) -> Answer:
        assert entry.replaces is not None
        # if it is too late for the cancel nothing is cancelled, and the job that is still there keeps this one out
        not_after = self.script.not_after(until_s)
        cancelling = await self._cancel_call(entry.replaces, spare_running=True, not_after=not_after)
        # one comes for one that goes: a queue that has more than it may refuses what comes, and the other would be gone
        calls = [(self._cancel, *cancelling), self.script.call_for([entry], together=False, enforce=False)]
        wait = self._durability.wait
        (cancelled, tagged), replicas = await script.call_together(self._redis, calls, wait)
        durability = self._durability.grade_with(replicas) if wait else self._durability.grade
        (answer,) = self.script.answers_of(tagged, durability)
        if cancelled == b"late":
            raise Late
        return answer

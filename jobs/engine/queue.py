"""The producer's side of a queue: enqueue jobs; cancel, retry or forget one; pause, resume; several queues at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from arq.connections import ArqRedis
from arq.jobs import serialize_result
from arq.utils import timestamp_ms, to_unix_ms

from jobs.engine import keys, records, script
from jobs.engine.dead_entry import DeadEntry
from jobs.engine.durability import Durability, Grade
from jobs.engine.ended_name import EndedName
from jobs.engine.idempotency import FirstAnswer, Idempotency, RequestInFlight
from jobs.engine.job_id import new_job_id
from jobs.engine.job_limits import JobLimits, KeptLimits
from jobs.engine.outage import is_outage, missed, within
from jobs.engine.uniqueness import UNTIL_END_LIMIT_MS, NotUnique, Unique

T = TypeVar("T")

CancelAnswer = Literal["cancelled", "cancelling", "ended", "unknown", "changed"]
RescheduleAnswer = Literal["rescheduled", "in_progress", "ended", "unknown", "changed"]
RetryAnswer = Literal["retried", "queued", "deferred", "in_progress", "ended", "unknown", "changed"]
MOST_AT_ONCE = 10_000
"""A script call holds Redis up for everybody: this many jobs take it some tens of milliseconds."""
IN_FLIGHT_S = 60
"""How long a request may hold its key while it comes in; past it two may come in, of which one is acted on."""
REPLACE_ROUNDS = 3


EXISTS, FULL = 0, 1
"""What the script answers of a job that it has not put; any other answer is when the job is due."""


class JobExists(Exception):
    """A job of that id is queued, running, or still remembered."""


class QueueFull(Exception):
    """The queue holds as many unfinished jobs as it may."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"the queue '{queue}' holds as many unfinished jobs as it may")
        self.queue = queue


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A job that Redis has. Times are ms since the epoch."""

    job_id: str
    enqueued_at_ms: int
    due_at_ms: int
    deferred: bool
    """Not due at once."""
    durability: Grade
    """What stands behind it."""
    replayed: bool = False
    """An earlier request under the same idempotency key has put it; `memo` is what that one left."""
    memo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job for `enqueue_together`; its fields are as the parameters of `Queue.enqueue`."""

    type_name: str
    args: Mapping[str, Any]
    job_id: str
    delay_ms: int = 0
    run_at_ms: int | None = None
    limits: JobLimits | None = None


@dataclass(slots=True)
class _Entry:
    job_id: str
    type_name: str
    body: bytes
    enqueued_at_ms: int
    delay_ms: int
    run_at_ms: int | None
    idempotency: Idempotency | None = None
    unique: Unique | None = None
    replaces: str | None = None
    """The job that is cancelled in the same transaction for this one."""

    stands_for: Sequence[str] = ()
    """All jobs of its call, which its idempotency key is for."""

    @property
    def on_terms(self) -> bool:
        return self.idempotency is not None or self.unique is not None


_Answer = tuple[int | bytes, Grade]
"""When a job is due, negative for later, or why it was not put (text where its terms keep it out); and what stands
behind it."""


class Queue:
    """One queue of jobs, in Arq's format."""

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
        self.name = name
        self.key = keys.queue(name)
        self._redis = redis
        self._ended_ttl_s = ended_ttl_s
        self._deadline_s = deadline_s
        self._durability = durability or Durability(redis)
        self._limit = limit
        self._enqueue = script.load(redis, "enqueue")
        self._cancel = script.load(redis, "cancel")
        self._retry = script.load(redis, "retry")
        self._reschedule = script.load(redis, "reschedule")
        self._forget = script.load(redis, "forget")
        self._waiting: list[tuple[_Entry, asyncio.Future[_Answer]]] = []
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
        entry = _entry(
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
            return _enqueued(self, entry, await self._put_with_others(entry))
        except NotUnique as conflict:
            if unique is None or not unique.replace:
                raise
            return await self._put_in_place_of(conflict, entry)

    async def _put_with_others(self, entry: _Entry) -> _Answer:
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
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
            _entry(type_name, args, job_id=None, delay_ms=delay_ms, run_at_ms=run_at_ms, limits=limits)
            for args in many_args
        ]
        if len(entries) > MOST_AT_ONCE:
            raise ValueError(f"{len(entries)} jobs are over the limit of {MOST_AT_ONCE} for one call")
        if entries and idempotency:
            # the first of a call stands for all of it
            entries[0] = replace(entries[0], idempotency=idempotency, stands_for=[entry.job_id for entry in entries])
        answers = await self._put_in_time(entries, together=True) if entries else []
        if answers and isinstance(told := answers[0][0], bytes):
            return _kept_out(entries[0], told, answers[0][1])
        return [_enqueued(self, entry, answer) for entry, answer in zip(entries, answers, strict=True)]

    async def begin_request(self, key: str) -> FirstAnswer | None:
        """Holds an idempotency key while a long request comes in, or returns what its first request was answered.

        Raises RequestInFlight while another one holds it. To be followed by `end_request`; after a minute the key
        comes free by itself, also where the process has died. It only spares work: what decides is the enqueue.
        """
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.get(keys.idempotency(self.key, key))
            transaction.set(keys.in_flight(self.key, key), 1, nx=True, ex=IN_FLIGHT_S)
            kept, begun = await within(self._deadline_s, transaction.execute())
        if kept is None and not begun:
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
        """The jobs of an earlier request, as it was told of them."""
        return _jobs_of(first, self._durability.grade)

    async def cancel(self, job_id: str, *, seen: str = "") -> CancelAnswer:
        """Ends a job as `cancelled`: at once where it has not started or waits for its next try.

        `cancelling` where it runs: its worker is told and ends it. A stock worker must have `allow_abort_jobs`.
        `changed` where `seen` is given and is not the job's revision (`snapshot.JobSnapshot`) any more: nothing is done
        then, and so it is with the calls below.
        """
        names, arguments = await self._cancel_call(job_id, spare_running=False, seen=seen)
        answer: bytes = await self._cancel(keys=names, args=arguments)
        if answer == b"stock":
            await self._redis.zadd(keys.ABORT, {job_id: timestamp_ms()})
            return "cancelling"
        return answer.decode()  # type: ignore[return-value]  # the script's other words

    async def retry(self, job_id: str, *, seen: str = "") -> RetryAnswer:
        """Makes a job that has failed and waits for its next try due now; says what any other job is.

        A job that is deferred for its first attempt is left so. For one that has ended see `Replays`.
        """
        answer: bytes = await self._retry(keys=self._names_of(job_id), args=[job_id, keys.events(self.key), seen])
        return answer.decode()  # type: ignore[return-value]  # the script's six words

    async def reschedule(
        self, job_id: str, *, delay_ms: int = 0, run_at_ms: int | None = None, seen: str = ""
    ) -> RescheduleAnswer:
        """Makes a job that is queued or deferred, for whichever attempt, due at another time; the times are as those
        of `enqueue`. Says what any other job is.
        """
        body = await self._redis.get(keys.body(job_id))
        names = self._names_of(job_id)
        if body is not None and (unique := records.unique_of(body)):
            names.append(keys.unique(self.key, *unique))
        run_at = "" if run_at_ms is None else run_at_ms
        answer: int | bytes = await self._reschedule(
            keys=names, args=[job_id, keys.events(self.key), delay_ms, run_at, UNTIL_END_LIMIT_MS, seen]
        )
        if isinstance(answer, int):
            return "rescheduled"
        return answer.decode()  # type: ignore[return-value]  # the script's other words

    def _names_of(self, job_id: str) -> list[str]:
        """What the scripts look at that move a job which waits."""
        return [
            self.key,
            keys.wake(self.key),
            keys.body(job_id),
            keys.result(job_id),
            keys.lease(job_id),
            keys.tries(job_id),
            keys.running(self.key),
            keys.attempts(job_id),
            keys.progress(job_id),
        ]

    async def forget(self, job_id: str, *, seen: str = "") -> bool:
        """Forgets an ended job and what is remembered of its effects; False where no job of that id has ended, or
        where it is another than was `seen`.
        """
        result = await self._redis.get(keys.result(job_id))
        if result is None:
            return False
        record = records.readable_or_empty(result)
        entry = DeadEntry.in_result(job_id, record)
        return bool(
            await self._forget(
                keys=[
                    keys.dead(self.key),
                    keys.dead_by_group(self.key),
                    keys.result(job_id),
                    keys.once(job_id),
                    keys.ended(self.key),
                ],
                args=[str(entry or ""), str(EndedName.in_result(record)), job_id, seen],
            )
        )

    async def pause(self) -> None:
        """Nothing is claimed from the queue until it is resumed; what runs goes on."""
        await self._redis.set(keys.paused(self.key), timestamp_ms())

    async def resume(self) -> None:
        """Ends a pause and wakes a worker."""
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.delete(keys.paused(self.key))
            transaction.lpush(keys.wake(self.key), 1)
            await transaction.execute()

    async def _send_waiting(self) -> None:
        """One call after another, each with all that came during the one before; no timer holds anything back."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                await self._send(group)
        finally:
            self._sender = None

    async def _send(self, group: Sequence[tuple[_Entry, asyncio.Future[_Answer]]]) -> None:
        try:
            answers = await self._put_in_time([entry for entry, _ in group])
        except BaseException as error:  # every caller is told; a cancelled sender must not leave one waiting
            # who waited meanwhile as well: behind a silent Redis each group would wait as long as this one did
            group, self._waiting = [*group, *self._waiting], []
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, answer), told in zip(group, answers, strict=True):
                if not answer.done():
                    answer.set_result(told)

    async def _put_in_time(self, entries: Sequence[_Entry], *, together: bool = False) -> list[_Answer]:
        return await self._in_time(self._put(entries, together=together))

    async def _in_time(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return await within(self._deadline_s, call)
        except Exception as error:
            if is_outage(error):
                self._durability.doubt()
            raise

    async def _put(self, entries: Sequence[_Entry], *, together: bool) -> list[_Answer]:
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

    def _call_for(self, entries: Sequence[_Entry], *, together: bool) -> tuple[list[str], list[str | bytes | int]]:
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

    def _terms_of(self, entries: Sequence[_Entry], names: list[str]) -> bytes:
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
        return records.dumps(terms)

    async def _put_in_place_of(self, conflict: NotUnique, entry: _Entry) -> Enqueued:
        """Cancels the waiting job that holds the unique key and puts this one, in one transaction.

        Raises NotUnique where it runs, or has ended and holds the key for a while.
        """
        for _ in range(REPLACE_ROUNDS):
            if conflict.state != "waiting":
                break
            try:
                answer = await self._in_time(self._replace(replace(entry, replaces=conflict.job_id)))
                return _enqueued(self, entry, answer)
            except NotUnique as next_conflict:
                # it began meanwhile, or somebody else was quicker
                conflict = next_conflict
        raise conflict

    async def _replace(self, entry: _Entry) -> _Answer:
        assert entry.replaces is not None
        cancelling = await self._cancel_call(entry.replaces, spare_running=True)
        calls = [(self._cancel, *cancelling), (self._enqueue, *self._call_for([entry], together=False))]
        wait = self._durability.wait
        (_, (answer,)), replicas = await script.call_together(self._redis, calls, wait)
        return answer, self._durability.grade_with(replicas) if wait else self._durability.grade

    async def _cancel_call(
        self, job_id: str, *, spare_running: bool, seen: str = ""
    ) -> tuple[list[str], list[str | bytes | int]]:
        """KEYS and ARGV of the script."""
        names = [
            self.key,
            keys.running(self.key),
            keys.body(job_id),
            keys.result(job_id),
            keys.lease(job_id),
            keys.tries(job_id),
            keys.attempts(job_id),
            keys.progress(job_id),
            keys.once(job_id),
            keys.cancels(self.key),
            keys.ended(self.key),
        ]
        outcome = await self._cancelled_outcome(job_id)
        type_name = EndedName.in_result(records.loads(outcome)).type if outcome else ""
        keep_ms = int(self._ended_ttl_s * 1000)
        channels = keys.events(self.key), keys.cancel_calls(self.key)
        return names, [job_id, outcome, keep_ms, *channels, int(spare_running), type_name, seen]

    async def _cancelled_outcome(self, job_id: str) -> bytes:
        """The result record of a cancelled job; empty for an unknown one, which the script will not use."""
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.mget(keys.body(job_id), keys.tries(job_id))
            transaction.lrange(keys.attempts(job_id), 0, -1)
            (body, tries), attempts = await transaction.execute()
        if body is None:
            return b""
        job, record = records.job_in(body)
        more = {"attempts": records.readable(attempts), **KeptLimits.of(record).fields()}
        now_ms = timestamp_ms()
        error = records.Error(type="Cancel", message="cancelled before it started")
        outcome = serialize_result(
            job.function,
            job.args,
            job.kwargs,
            int(tries or 0),
            to_unix_ms(job.enqueue_time),
            False,
            records.JobCancelled(error),
            now_ms,
            now_ms,
            ref=job_id,
            queue_name=self.key,
            job_id=job_id,
            serializer=lambda outcome: records.dumps({**outcome, **more}),
        )
        return outcome or b""


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
    by_queue: dict[Queue, list[_Entry]] = {}
    for queue, job in jobs:
        by_queue.setdefault(queue, []).append(_entry_of(job))
    if len(by_queue) == 1:
        ((queue, entries),) = by_queue.items()
        answers = [await queue._put_in_time(entries, together=True)]
    else:
        answers = await jobs[0][0]._in_time(_put_in_one_transaction(by_queue))
    put = {
        entry.job_id: None if answer[0] == EXISTS else _enqueued(queue, entry, answer)
        for (queue, entries), of_queue in zip(by_queue.items(), answers, strict=True)
        for entry, answer in zip(entries, of_queue, strict=True)
    }
    return [put[job.job_id] for _, job in jobs]


async def _enqueue_one(queue: Queue, job: NewJob) -> Enqueued | None:
    """By the way that shares its call with others who enqueue at the moment."""
    try:
        return await queue.enqueue(
            job.type_name,
            job.args,
            job_id=job.job_id,
            delay_ms=job.delay_ms,
            run_at_ms=job.run_at_ms,
            limits=job.limits,
        )
    except JobExists:
        return None


async def _put_in_one_transaction(by_queue: Mapping[Queue, Sequence[_Entry]]) -> list[list[_Answer]]:
    """One script call for each queue, so that each touches the keys of its own queue alone; replicas once for all."""
    first = next(iter(by_queue))
    wait = first._durability.wait
    calls = [(queue._enqueue, *queue._call_for(entries, together=True)) for queue, entries in by_queue.items()]
    answers, replicas = await script.call_together(first._redis, calls, wait)
    durability = first._durability.grade_with(replicas) if wait else first._durability.grade
    return [[(due_at_ms, durability) for due_at_ms in of_queue] for of_queue in answers]


def _entry_of(job: NewJob) -> _Entry:
    return _entry(
        job.type_name,
        job.args,
        job_id=job.job_id,
        delay_ms=job.delay_ms,
        run_at_ms=job.run_at_ms,
        limits=job.limits,
    )


def _entry(
    type_name: str,
    args: Mapping[str, Any],
    *,
    job_id: str | None,
    delay_ms: int,
    run_at_ms: int | None,
    idempotency: Idempotency | None = None,
    unique: Unique | None = None,
    limits: JobLimits | None = None,
) -> _Entry:
    enqueued_at_ms = timestamp_ms()
    job = {"t": None, "f": type_name, "a": (), "k": args, "et": enqueued_at_ms}
    if unique is not None:
        job[records.UNIQUE_KEY] = unique.key
    if limits is not None:
        job |= limits.kept(enqueued_at_ms).fields()
    body = records.dumps(job)
    return _Entry(job_id or new_job_id(), type_name, body, enqueued_at_ms, delay_ms, run_at_ms, idempotency, unique)


def _enqueued(queue: Queue, entry: _Entry, answer: _Answer) -> Enqueued:
    told, durability = answer
    if isinstance(told, bytes):
        (job,) = _kept_out(entry, told, durability)
        return job
    if told == EXISTS:
        raise JobExists(entry.job_id)
    if told == FULL:
        raise QueueFull(queue.name)
    return Enqueued(entry.job_id, entry.enqueued_at_ms, abs(told), deferred=told < 0, durability=durability)


def _kept_out(entry: _Entry, told: bytes, durability: Grade) -> list[Enqueued]:
    """The jobs that an earlier request under the same key has put. Raises KeyReused or NotUnique."""
    if entry.idempotency is None or told.startswith(NotUnique.WORD):
        raise NotUnique.parse(told)
    return _jobs_of(FirstAnswer.parse(told).given_to(entry.idempotency.fingerprint), durability)


def _jobs_of(first: FirstAnswer, durability: Grade) -> list[Enqueued]:
    return [
        Enqueued(
            job_id,
            first.enqueued_at_ms,
            abs(first.due_ms),
            deferred=first.due_ms < 0,
            durability=durability,
            replayed=True,
            memo=first.memo,
        )
        for job_id in first.job_ids
    ]

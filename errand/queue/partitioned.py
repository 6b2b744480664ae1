"""One queue whose jobs are divided among the partitions of an installation.

It has a `Queue` in each partition, and puts a job there with everything that must be decided in one step: what shares a
key, what one call puts, what waits for one another. So each promise holds within one partition, as on a single server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from errand.queue.actions import CancelAnswer, RescheduleAnswer, RetryAnswer
from errand.queue.idempotency import FirstAnswer, Idempotency
from errand.queue.new_job import DividedDependencies, Enqueued, NewJob
from errand.queue.queue import PutOptions, Queue
from errand.queue.uniqueness import Unique
from errand.redis.cluster.partitions import Partitions
from errand.redis.durability import Durability
from errand.wire import keys
from errand.wire.flow import NO_FLOW, Flow, Needs
from errand.wire.job_id import new_job_id


class PartitionedQueue:
    """One queue in several partitions, with the methods of a `Queue`."""

    def __init__(self, partitions: Partitions, queues: Sequence[Queue]) -> None:
        """`queues`: this queue in each partition."""
        self._partitions = partitions
        self._queues = queues
        self.name, self.key = queues[0].name, queues[0].key

    @property
    def undivided(self) -> Queue:
        """Where the jobs of a type lie that must be counted together: in partition 0."""
        return self._queues[0]

    async def enqueue(
        self,
        type_name: str,
        args: Mapping[str, Any],
        *,
        job_id: str | None = None,
        drawn_id: str | None = None,
        idempotency: Idempotency | None = None,
        unique: Unique | None = None,
        flow: Flow = NO_FLOW,
        **options: Unpack[PutOptions],
    ) -> Enqueued:
        """Puts a job as `Queue.enqueue` does: where the jobs lie that it waits for, or else where its unique key, its
        id or its idempotency key belongs.

        Raises what that raises, and DividedDependencies.
        """
        if flow.needs is None and unique is None and job_id is None and idempotency is None:
            drawn_id = drawn_id or new_job_id()
            queue = self._belonging(drawn_id)
        else:
            queue = await self._queue_for(type_name, job_id=job_id, idempotency=idempotency, unique=unique, flow=flow)
        put = await queue.enqueue(
            type_name,
            args,
            job_id=job_id,
            drawn_id=drawn_id,
            idempotency=idempotency,
            unique=unique,
            flow=flow,
            **options,
        )
        await self._note_where_the_key_belongs(idempotency, [put], put_in=queue)
        return put

    async def enqueue_many(
        self,
        type_name: str,
        many_args: Iterable[Mapping[str, Any]],
        *,
        idempotency: Idempotency | None = None,
        flow: Flow = NO_FLOW,
        **options: Unpack[PutOptions],
    ) -> list[Enqueued]:
        """Puts jobs as `Queue.enqueue_many` does: into one partition, all or none. Raises what that raises, and
        DividedDependencies.
        """
        if idempotency is None and flow.needs is None:
            queue = self._queues[self._partitions.number_of(new_job_id())]
        else:
            queue = await self._queue_for(type_name, idempotency=idempotency, flow=flow)
        put = await queue.enqueue_many(type_name, many_args, idempotency=idempotency, flow=flow, **options)
        await self._note_where_the_key_belongs(idempotency, put, put_in=queue)
        return put

    async def together(self, job: NewJob, *, number: int) -> Queue:
        """Where to put one of several jobs of one call: in that partition, unless a key or an id of yours decides."""
        if job.unique is None and not job.is_named:
            return self._queues[number]
        return await self._queue_for(job.type_name, job_id=job.job_id, unique=job.unique)

    def number_of(self, job_id: str) -> int:
        """The number of the partition that a drawn id belongs to."""
        return self._partitions.number_of(job_id)

    async def first_answer(self, idempotency: Idempotency) -> FirstAnswer | None:
        """As `Queue.first_answer`, wherever the job lies: its partition is noted where the key belongs, too."""
        queue = await self._answering(idempotency) or self._belonging(idempotency.key)
        return await queue.first_answer(idempotency)

    async def begin_request(self, key: str) -> FirstAnswer | None:
        """As `Queue.begin_request`."""
        likely = self._belonging(key)
        elsewhere = await _first_with(self._others(likely), keys.idempotency(self.key, key))
        return await (elsewhere or likely).begin_request(key)

    async def end_request(self, key: str) -> None:
        """As `Queue.end_request`."""
        likely = self._belonging(key)
        await asyncio.gather(*(queue.end_request(key) for queue in (likely, *self._others(likely))))

    def answered_again(self, first: FirstAnswer) -> list[Enqueued]:
        """As `Queue.answered_again`."""
        return self.undivided.answered_again(first)

    async def cancel(self, job_id: str, *, seen: str = "") -> CancelAnswer:
        """As `Queue.cancel`."""
        return await (await self._having(job_id)).cancel(job_id, seen=seen)

    async def retry(self, job_id: str, *, seen: str = "") -> RetryAnswer:
        """As `Queue.retry`."""
        return await (await self._having(job_id)).retry(job_id, seen=seen)

    async def reschedule(
        self, job_id: str, *, delay_ms: int = 0, run_at_ms: int | None = None, seen: str = ""
    ) -> RescheduleAnswer:
        """As `Queue.reschedule`."""
        queue = await self._having(job_id)
        return await queue.reschedule(job_id, delay_ms=delay_ms, run_at_ms=run_at_ms, seen=seen)

    async def forget(self, job_id: str, *, seen: str = "") -> bool:
        """As `Queue.forget`."""
        return await (await self._having(job_id)).forget(job_id, seen=seen)

    async def pause(self) -> None:
        """As `Queue.pause`, in all partitions."""
        await asyncio.gather(*(queue.pause() for queue in self._queues))

    async def resume(self) -> None:
        """As `Queue.resume`, in all partitions."""
        await asyncio.gather(*(queue.resume() for queue in self._queues))

    async def _having(self, job_id: str) -> Queue:
        client = await self._partitions.having(job_id)
        return self._queues[self._partitions.clients.index(client)]

    async def _queue_for(
        self,
        type_name: str,
        *,
        job_id: str | None = None,
        idempotency: Idempotency | None = None,
        unique: Unique | None = None,
        flow: Flow = NO_FLOW,
    ) -> Queue:
        """Where the first request under its idempotency key put its job; else where the jobs lie that it waits for, or
        where its unique key, its id or its idempotency key belongs."""
        decisive = _decisive(type_name, job_id, idempotency, unique)
        likely = None if flow.needs is not None else self._belonging(decisive)
        if idempotency is not None and (answering := await self._answering(idempotency, but=likely)) is not None:
            return answering
        if flow.needs is not None:
            return await self._with(flow.needs)
        assert likely is not None
        if unique is not None:
            names = [keys.unique(self.key, type_name, unique.key)]
        elif job_id is not None:
            names = [keys.body(job_id), keys.result(job_id)]
        else:
            return likely
        return await _first_with(self._others(likely), *names) or likely

    async def _answering(self, idempotency: Idempotency, *, but: Queue | None = None) -> Queue | None:
        """The queue, other than that one, which knows the answer to the first request under that key."""
        likely = self._belonging(idempotency.key)
        asked = [queue for queue in (likely, *self._others(likely)) if queue is not but]
        return await _first_with(asked, keys.idempotency(self.key, idempotency.key))

    async def _note_where_the_key_belongs(
        self, idempotency: Idempotency | None, put: Sequence[Enqueued], *, put_in: Queue
    ) -> None:
        """Else another request under the key, which goes by the key alone, would not meet this one's answer there."""
        if idempotency is not None and put and not put[0].replayed:
            likely = self._belonging(idempotency.key)
            if likely is not put_in:
                await likely.note_answer(idempotency, put)

    def _belonging(self, text: str) -> Queue:
        """Where a key, or an id, belongs."""
        return self._queues[self._partitions.number_of(text)]

    def _others(self, likely: Queue) -> list[Queue]:
        """Where something may lie that belongs to `likely`: another number of partitions had put it there."""
        return [queue for queue in self._queues if queue is not likely] if self._partitions.changed_lately else []

    async def _with(self, needs: Needs) -> Queue:
        """Where the jobs lie that another waits for."""
        found = {await self._having(job_id) for job_id, _ in needs.jobs}
        if len(found) > 1:
            raise DividedDependencies
        return found.pop()


def _decisive(type_name: str, job_id: str | None, idempotency: Idempotency | None, unique: Unique | None) -> str:
    """The text that decides where a job lies."""
    if unique is not None:
        return f"{type_name} {unique.key}"
    return job_id or (idempotency.key if idempotency else "")


async def _first_with(queues: Sequence[Queue], *names: str) -> Queue | None:
    """The first of these queues whose partition has a key of one of these names; they are asked at once.

    Raises redis' errors if one of them is away: what it has is not known.
    """
    found = await asyncio.gather(*(queue.has_key(*names) for queue in queues))
    return next((queue for queue, has in zip(queues, found, strict=True) if has), None)


JobQueue = Queue | PartitionedQueue


def queue_in(
    partitions: Partitions,
    durabilities: Sequence[Durability],
    *,
    name: str,
    ended_ttl_s: float,
    deadline_s: float,
    limit: int = 0,
) -> JobQueue:
    """The queue of that name; each partition takes its share of `limit`. `durabilities`: of each partition."""
    queues = [
        Queue(
            client,
            name=name,
            ended_ttl_s=ended_ttl_s,
            deadline_s=deadline_s,
            durability=durability,
            limit=-(-limit // partitions.number),
            new_ids=partitions.new_ids_of(client),
        )
        for client, durability in zip(partitions.clients, durabilities, strict=True)
    ]
    return queues[0] if len(queues) == 1 else PartitionedQueue(partitions, queues)

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
        idempotency: Idempotency | None = None,
        unique: Unique | None = None,
        flow: Flow = NO_FLOW,
        **options: Unpack[PutOptions],
    ) -> Enqueued:
        """Puts a job as `Queue.enqueue` does: where the jobs lie that it waits for, or else where its unique key, its
        id or its idempotency key belongs.

        Raises what that raises, and DividedDependencies.
        """
        if unique is not None and idempotency is not None:
            # its script looks where the unique key belongs, and another request under this key may be elsewhere
            await self.first_answer(idempotency)
        if flow.needs is None and unique is None and job_id is None and idempotency is None:
            job_id = new_job_id()
        queue = await self._queue_for(type_name, job_id=job_id, idempotency=idempotency, unique=unique, flow=flow)
        return await queue.enqueue(
            type_name, args, job_id=job_id, idempotency=idempotency, unique=unique, flow=flow, **options
        )

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
        drawn = None if idempotency else new_job_id()
        queue = await self._queue_for(type_name, job_id=drawn, idempotency=idempotency, flow=flow)
        return await queue.enqueue_many(type_name, many_args, idempotency=idempotency, flow=flow, **options)

    def together(self, job: NewJob, *, number: int) -> Queue:
        """Where to put one of several jobs of one call, which goes to that partition, unless a key decides."""
        if job.unique is None:
            return self._queues[number]
        return self._queues[self._number_of_unique(job.type_name, job.unique)]

    def number_of(self, job_id: str) -> int:
        """The number of the partition that a drawn id belongs to."""
        return self._partitions.number_of(job_id)

    async def first_answer(self, idempotency: Idempotency) -> FirstAnswer | None:
        """As `Queue.first_answer`, of all partitions: a unique key, or a type, may have decided where the job lies."""
        likely = self._partitions.number_of(idempotency.key)
        for queue in (self._queues[likely], *self._queues):
            if (first := await queue.first_answer(idempotency)) is not None:
                return first
        return None

    async def begin_request(self, key: str) -> FirstAnswer | None:
        """As `Queue.begin_request`."""
        return await self._queues[self._partitions.number_of(key)].begin_request(key)

    async def end_request(self, key: str) -> None:
        """As `Queue.end_request`."""
        await self._queues[self._partitions.number_of(key)].end_request(key)

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
        job_id: str | None,
        idempotency: Idempotency | None,
        unique: Unique | None = None,
        flow: Flow = NO_FLOW,
    ) -> Queue:
        if flow.needs is not None:
            return await self._with(flow.needs)
        if unique is not None:
            return self._queues[self._number_of_unique(type_name, unique)]
        text = job_id or (idempotency.key if idempotency else "")
        return self._queues[self._partitions.number_of(text)]

    async def _with(self, needs: Needs) -> Queue:
        """Where the jobs lie that another waits for."""
        found = {await self._having(job_id) for job_id, _ in needs.jobs}
        if len(found) > 1:
            raise DividedDependencies
        return found.pop()

    def _number_of_unique(self, type_name: str, unique: Unique) -> int:
        return self._partitions.number_of(f"{type_name} {unique.key}")


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

"""Enqueues jobs of any types into several queues in one call, as the routes of an app add them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from errand.queue.new_job import Answer, Enqueued, Entry, NewJob, QueueFull, enqueued, entry_of
from errand.queue.partitioned import JobQueue, PartitionedQueue
from errand.queue.queue import Queue
from errand.redis import script
from errand.tracing import current


async def enqueue_together(jobs: Sequence[tuple[JobQueue, NewJob]]) -> list[Enqueued | None]:
    """Puts jobs of any types into queues of one Redis in one call: all, or none if Redis is away or a queue is full.

    In several partitions they go to that of the first one's id, or, if one is for an undivided queue, to partition 0.
    Those whose unique keys, or ids that were not drawn, belong elsewhere take calls of their own, and the others are
    put though one of these fails.

    Those of one queue that are due at once are claimed in this order, as long as their ids sort so. A job whose id
    exists, or whose unique key is held, is not put (None in its place), the others are. Raises QueueFull and redis'
    errors. If there are several queues, their room is looked at right before the call; what others put meanwhile is
    not seen.
    """
    if not jobs:
        return []
    placed = await _placed(jobs)
    if len(placed) == 1:
        return [await _enqueue_one(*placed[0])]
    by_queue: dict[Queue, list[Entry]] = {}
    for queue, job in placed:
        with current.putting(job.type_name, queue.name, job_id=job.job_id) as origin:
            by_queue.setdefault(queue, []).append(entry_of(job, origin))
    put = {
        entry.job_id: _unless_it_exists(queue, entry, answer)
        for (queue, entries), answers in zip(by_queue.items(), await _put(by_queue), strict=True)
        for entry, answer in zip(entries, answers, strict=True)
    }
    return [put[job.job_id] for _, job in jobs]


async def _placed(jobs: Sequence[tuple[JobQueue, NewJob]]) -> Sequence[tuple[Queue, NewJob]]:
    """The jobs, each with its queue in the partition that it goes to."""
    divided = [queue for queue, _ in jobs if isinstance(queue, PartitionedQueue)]
    if not divided:
        return jobs  # type: ignore[return-value]  # none of the queues is divided
    number = divided[0].number_of(jobs[0][1].job_id) if len(divided) == len(jobs) else 0
    return [
        (await queue.together(job, number=number) if isinstance(queue, PartitionedQueue) else queue, job)
        for queue, job in jobs
    ]


async def _enqueue_one(queue: Queue, job: NewJob) -> Enqueued | None:
    with current.putting(job.type_name, queue.name, job_id=job.job_id) as origin:
        entry = entry_of(job, origin)
        if not job.enforce and queue.script.has_limit:
            (answer,) = await queue.script.put([entry], enforce=False)
        else:
            # in a call that is shared with others who enqueue at the moment
            answer = await queue.sender.send(entry)
        return _unless_it_exists(queue, entry, answer)


def _unless_it_exists(queue: Queue, entry: Entry, answer: Answer) -> Enqueued | None:
    return None if answer.exists or answer.is_held else enqueued(queue.name, entry, answer)


async def _put(by_queue: Mapping[Queue, Sequence[Entry]]) -> list[list[Answer]]:
    """One call for each partition, the one with the most jobs first; the answers are in the order of the queues."""
    by_redis: dict[Any, dict[Queue, Sequence[Entry]]] = {}
    for queue, entries in by_queue.items():
        by_redis.setdefault(queue.script.redis, {})[queue] = entries
    if len(by_redis) == 1:
        return await _put_in_one_call(by_queue)
    answers: dict[Queue, list[Answer]] = {}
    for some in sorted(by_redis.values(), key=lambda some: -sum(map(len, some.values()))):
        answers |= zip(some, await _put_in_one_call(some), strict=True)
    return [answers[queue] for queue in by_queue]


async def _put_in_one_call(by_queue: Mapping[Queue, Sequence[Entry]]) -> list[list[Answer]]:
    first = next(iter(by_queue)).script
    if len(by_queue) == 1:
        (entries,) = by_queue.values()
        return [await first.put(entries, together=True, enforce=_is_enforced(entries))]
    until_s = first.deadline()

    async def put() -> list[list[Answer]]:
        for queue, entries in by_queue.items():
            if _is_enforced(entries) and not await queue.script.has_room(len(entries)):
                raise QueueFull(queue.name)
        return await first.not_late(lambda: _put_in_one_transaction(by_queue, first.not_after(until_s)))

    return await first.in_time(put())


def _is_enforced(entries: Sequence[Entry]) -> bool:
    return any(entry.enforce for entry in entries)


async def _put_in_one_transaction(
    by_queue: Mapping[Queue, Sequence[Entry]], not_after: int | str
) -> list[list[Answer]]:
    """One script call for each queue, so that each touches the keys of its own queue alone; replicas once for all."""
    first = next(iter(by_queue)).script
    wait = first.durability.wait
    calls = [
        queue.script.call_for(entries, together=True, enforce=False, not_after=not_after)
        for queue, entries in by_queue.items()
    ]
    of_queues, replicas = await script.call_together(first.redis, calls, wait)
    durability = first.durability.grade_with(replicas) if wait else first.durability.grade
    return [first.answers_of(tagged, durability) for tagged in of_queues]

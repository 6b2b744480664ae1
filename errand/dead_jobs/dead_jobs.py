"""The dead jobs of some queues: which there are, newest first, and what they died of.

Two indexes of the same entries are read, never the jobs one by one: by when they died, and by type and fingerprint. An
entry may outlive its job, which expires by itself: a reader that finds such an entry leaves it out and removes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog
from arq.connections import ArqRedis
from arq.jobs import DeserializationError

from errand.monitor.job_snapshot import JobSnapshot, ended_job
from errand.redis import script
from errand.wire import fingerprint, keys
from errand.wire.indexes import TIME_DIGITS, DeadEntry, type_word

log = structlog.get_logger("errand.dead_jobs")


MAX_GROUPS = 1_000
"""Groups that one call looks at in a queue: each takes Redis a few microseconds."""


RESULTS_AT_ONCE = 50
"""A result holds the job's args and may be large: this many are in memory at a time."""


MAX_ROUNDS = 10
"""A page whose jobs have all expired is followed by the next, this often."""


class TooManyGroups(Exception):
    """More groups of dead jobs match than one call looks at; type and fingerprint together name one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadJobFilter:
    """Which dead jobs are meant; None stands for all."""

    type: str | None = None
    fingerprint: str | None = None
    queue: str | None = None
    """By its name."""


@dataclass(frozen=True, slots=True, order=True)
class DeadPosition:
    """A place in the list: right behind that entry. What dies later does not move it."""

    at_ms: int
    entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadPage:
    """Dead jobs, newest first."""

    jobs: Sequence[JobSnapshot]
    next: DeadPosition | None
    """Where the next page begins; None at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadGroup:
    """Dead jobs of one queue and type with one fingerprint."""

    queue: str
    """Its key."""
    count: int
    oldest: DeadEntry
    newest: DeadEntry
    example: JobSnapshot | None = None
    """The newest one, where it was asked for and has not expired."""

    @property
    def name(self) -> str:
        return self.newest.group


@dataclass(frozen=True, slots=True, order=True)
class _Listed:
    position: DeadPosition
    queue: str


class DeadJobs:
    """The read side of dead jobs in these queues (their keys), which are kept for `ttl_s` seconds."""

    def __init__(self, redis: ArqRedis, *, queues: Sequence[str], ttl_s: float) -> None:
        self._redis = redis
        self._queues = queues
        self._ttl_ms = int(ttl_s * 1000)
        self._groups = script.load(redis, "dead_jobs/groups")

    async def groups(self, which: DeadJobFilter) -> list[DeadGroup]:
        """Every group that matches, without examples; the largest first.

        Looks at 1,000 groups of each queue; raises TooManyGroups where there are more.
        """
        groups = [group for queue in self._chosen(which) for group in await self._groups_of(queue, which)]
        return sorted(groups, key=lambda group: (-group.count, -group.newest.ended_at_ms, group.name))

    async def with_examples(self, groups: Iterable[DeadGroup]) -> list[DeadGroup]:
        """The same groups, each with its newest job."""
        listed = [(group, _Listed(DeadPosition(0, str(group.newest)), group.queue)) for group in groups]
        jobs = await self._read([place for _, place in listed])
        return [replace(group, example=jobs.get(place)) for group, place in listed]

    async def page(self, which: DeadJobFilter, *, limit: int, before: DeadPosition | None = None) -> DeadPage:
        """Up to `limit` dead jobs that match, newest first, from that position on.

        Looks at `10 * limit` entries at most: where the newest ones have expired a page may hold fewer jobs although
        others follow. Raises TooManyGroups for a wish that is too wide.
        """
        groups = await self._matching_groups(which)
        jobs: list[JobSnapshot] = []
        for _ in range(MAX_ROUNDS):
            missing = limit - len(jobs)
            listed = await self._list(which, groups, before=before, most=missing + 1)
            jobs += (await self._read(listed[:missing])).values()
            if len(listed) <= missing:
                return DeadPage(jobs=jobs, next=None)
            before = listed[missing - 1].position
            if len(jobs) == limit:
                break
        return DeadPage(jobs=jobs, next=before)

    async def remove(self, queue: str, entries: Sequence[str]) -> None:
        """Takes entries out of a queue's indexes."""
        if entries:
            async with self._redis.pipeline(transaction=True) as transaction:
                transaction.zrem(keys.dead(queue), *entries)
                transaction.zrem(keys.dead_by_group(queue), *entries)
                await transaction.execute()

    def _chosen(self, which: DeadJobFilter) -> Sequence[str]:
        return self._queues if which.queue is None else [keys.queue(which.queue)]

    async def _groups_of(self, queue: str, which: DeadJobFilter) -> list[DeadGroup]:
        more, found = await self._groups(
            keys=[keys.dead_by_group(queue)],
            args=[
                type_word(which.type) if which.type else "",
                fingerprint.token(which.fingerprint) if which.fingerprint else "",
                self._ttl_ms,
                MAX_GROUPS,
            ],
        )
        if more:
            raise TooManyGroups
        return [
            DeadGroup(
                queue=queue,
                count=count,
                oldest=DeadEntry.parse(oldest.decode()),
                newest=DeadEntry.parse(newest.decode()),
            )
            for count, oldest, newest in found
        ]

    async def _matching_groups(self, which: DeadJobFilter) -> list[tuple[str, str]] | None:
        """(queue, name of the group) of all that match; None for all dead jobs of the queues."""
        if which.type and which.fingerprint:
            name = f"{type_word(which.type)} {fingerprint.token(which.fingerprint)}"
            return [(queue, name) for queue in self._chosen(which)]
        if which.type or which.fingerprint:
            return [(group.queue, group.name) for group in await self.groups(which)]
        return None

    async def _list(
        self, which: DeadJobFilter, groups: list[tuple[str, str]] | None, *, before: DeadPosition | None, most: int
    ) -> list[_Listed]:
        if groups is None:
            listed = await self._newest(self._chosen(which), before=before, most=most)
        else:
            listed = await self._newest_of(groups, before=before, most=most)
        return sorted(listed, reverse=True)[:most]

    async def _newest(self, queues: Sequence[str], *, before: DeadPosition | None, most: int) -> list[_Listed]:
        """By when they died. Of one millisecond all are read: the order within it is that of the entries."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for queue in queues:
                index = keys.dead(queue)
                latest = "+inf" if before is None else f"({before.at_ms}"
                pipeline.zrevrangebyscore(index, latest, "-inf", start=0, num=most, withscores=True)
                if before is not None:
                    pipeline.zrangebyscore(index, before.at_ms, before.at_ms, withscores=True)
            answers = await pipeline.execute()
        sources = [queue for queue in queues for _ in range(1 if before is None else 2)]
        listed = [
            _Listed(DeadPosition(int(at_ms), entry.decode()), queue)
            for queue, answer in zip(sources, answers, strict=True)
            for entry, at_ms in answer
        ]
        return [one for one in listed if before is None or one.position < before]

    async def _newest_of(
        self, groups: Sequence[tuple[str, str]], *, before: DeadPosition | None, most: int
    ) -> list[_Listed]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for queue, name in groups:
                pipeline.zrevrangebylex(
                    keys.dead_by_group(queue), _latest(name, before), f"[{name} ", start=0, num=most
                )
            answers = await pipeline.execute()
        entries = [
            (queue, entry.decode()) for (queue, _), found in zip(groups, answers, strict=True) for entry in found
        ]
        return [_Listed(DeadPosition(DeadEntry.parse(entry).ended_at_ms, entry), queue) for queue, entry in entries]

    async def _read(self, listed: Sequence[_Listed]) -> dict[_Listed, JobSnapshot]:
        """The jobs of those entries, in their order, less what has been forgotten or has lived on since."""
        jobs: dict[_Listed, JobSnapshot] = {}
        outdated: dict[str, list[str]] = {}
        for start in range(0, len(listed), RESULTS_AT_ONCE):
            part = listed[start : start + RESULTS_AT_ONCE]
            entries = [DeadEntry.parse(one.position.entry) for one in part]
            results = await self._redis.mget([keys.result(entry.job_id) for entry in entries])
            for one, entry, result in zip(part, entries, results, strict=True):
                job = _dead_job(entry, result)
                if job is None:
                    outdated.setdefault(one.queue, []).append(one.position.entry)
                else:
                    jobs[one] = job
        for queue, gone in outdated.items():
            await self.remove(queue, gone)
        return jobs


def _latest(group: str, before: DeadPosition | None) -> str:
    """Where a group's range ends so that it holds what comes behind that position, and nothing else."""
    if before is None:
        return f"({group}!"
    its_group = DeadEntry.parse(before.entry).group
    if group == its_group:
        return f"({before.entry}"
    # entries of one millisecond are in the order of their groups
    first_left_out_ms = before.at_ms + 1 if group < its_group else before.at_ms
    return f"({group} {first_left_out_ms:0{TIME_DIGITS}d}"


def _dead_job(entry: DeadEntry, result: bytes | None) -> JobSnapshot | None:
    """The job of that entry; None where the result is none of that death."""
    if result is None:
        return None
    try:
        job = ended_job(entry.job_id, result)
    except (DeserializationError, ValueError, TypeError, KeyError):
        log.warning("a dead job's result cannot be read and is left out", job_id=entry.job_id)
        return None
    if job.status != "failed" or job.error is None or job.finished_at_ms is None:
        return None
    same = DeadEntry.of(entry.job_id, job.type, job.error, ended_at_ms=job.finished_at_ms) == entry
    return job if same else None

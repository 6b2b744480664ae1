"""Lists the dead jobs of some queues, newest first, and groups them by what they died of.

Two indexes of the same entries are read, never the jobs one by one: one index by time of death, one by type and
fingerprint. An entry may outlive its job, which expires by itself: a reader that finds such an entry leaves it out
and removes it.

If the jobs are in several partitions, each is asked, and what they answer is merged: groups by type and fingerprint,
pages by position. One position is a page's start in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog
from arq.connections import ArqRedis
from arq.jobs import DeserializationError

from errand.monitor.job_snapshot import JobSnapshot, ended_job
from errand.redis import script
from errand.redis.cluster.each import of_each
from errand.redis.rows import in_turns, rows_of
from errand.wire import fingerprint, keys
from errand.wire.indexes import TIME_DIGITS, DeadEntry, type_word
from errand.wire.limits import shown_ms

log = structlog.get_logger("errand.dead_jobs")


MAX_GROUPS = 20_000
"""Groups of one queue that are looked at: two for each of the webhook endpoints that there may be. At least as many as
one replay puts again, so that each call has enough of them."""


GROUPS_AT_ONCE = 500
"""Of these, in one call to Redis: each group holds it up for some microseconds."""


RESULTS_AT_ONCE = 50
"""A result holds the job's args and may be large: no more of them are in memory at a time."""


STEPS = 20
"""Of the time since the first job of a group died, in which deaths are counted."""


MAX_ROUNDS = 10
"""So often a page whose jobs have all expired is followed by the next at once."""


ENTRIES_AT_ONCE = 500
"""Of all dead jobs, if a filter matches too many groups to go through these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadJobFilter:
    """Which dead jobs a call is about; None means any."""

    type: str | None = None
    fingerprint: str | None = None
    about: str | None = None
    """Who or what has the fault, as the job said; of a delivery the id of its endpoint."""
    queue: str | None = None
    """By its name."""

    @property
    def words(self) -> tuple[str, str, str]:
        """Type, fingerprint and what it is about, as entries have them; '' for any."""
        return (
            type_word(self.type) if self.type else "",
            fingerprint.token(self.fingerprint) if self.fingerprint else "",
            fingerprint.about_word(self.about) if self.about else "",
        )

    def takes(self, entry: DeadEntry) -> bool:
        """True if that entry, of a queue that fits, is of such a job."""
        type_name, mark, about = self.words
        return (
            (not type_name or type_name == entry.type)
            and (not mark or mark == entry.fingerprint)
            and (not about or about == entry.about)
        )


@dataclass(frozen=True, slots=True, order=True)
class DeadPosition:
    """A position in the list: right after that entry. Jobs that die later do not move it."""

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
    """The newest one; None if nobody asked for it, or if it has expired."""
    newest_in: int = 0
    """The number of the partition that has the newest one."""

    @property
    def name(self) -> str:
        """Type and fingerprint, as the index has them."""
        return self.newest.group


@dataclass(frozen=True, slots=True)
class FoundGroups:
    """Some groups of dead jobs."""

    groups: Sequence[DeadGroup]
    complete: bool
    """False if a queue has more than 20,000 that match: these are the first by type and fingerprint."""

    @property
    def jobs(self) -> int:
        """How many dead jobs they have."""
        return sum(group.count for group in self.groups)


@dataclass(frozen=True, slots=True, order=True)
class _Listed:
    """An entry of an index, of which the job has not been read yet."""

    position: DeadPosition
    queue: str
    """Its key."""
    partition: int = 0


Names = Sequence[tuple[str, str]]
"""The queue (its key) and the name of each of some groups."""


class DeadJobs:
    """Reads the dead jobs of these queues (their keys), which are kept for `ttl_s` seconds.

    They are in one Redis, or in the partitions behind these clients.
    """

    def __init__(self, *clients: ArqRedis, queues: Sequence[str], ttl_s: float) -> None:
        self.parts = [
            DeadIndex(number, redis, queues=queues, ttl_ms=int(ttl_s * 1000)) for number, redis in enumerate(clients)
        ]

    async def groups(self, filter: DeadJobFilter) -> FoundGroups:
        """Every group that matches, without examples, the largest first: 20,000 of each queue at most, in short calls.

        Of a partition that has more only the first are counted.
        """
        of_parts = await of_each(self.parts, lambda part: part.groups(filter))
        merged = _merged([found.groups for found in of_parts])
        groups = sorted(merged, key=lambda group: (-group.count, -group.newest.ended_at_ms, group.name))
        return FoundGroups(groups, all(found.complete for found in of_parts))

    async def with_examples(self, groups: Iterable[DeadGroup]) -> list[DeadGroup]:
        """The same groups, each with its newest job."""
        listed = [
            (group, _Listed(DeadPosition(0, str(group.newest)), group.queue, group.newest_in)) for group in groups
        ]
        jobs = await self._read([newest for _, newest in listed])
        return [replace(group, example=jobs.get(newest)) for group, newest in listed]

    async def deaths(self, groups: Sequence[DeadGroup], *, until_ms: int) -> list[list[int]]:
        """How many jobs of each group died in each step from its first death until then.

        They are counted in the index of the groups: nothing more is kept for it.
        """
        of_parts = await of_each(self.parts, lambda part: part.deaths(groups, until_ms=until_ms))
        return [[sum(step) for step in zip(*of_group, strict=True)] for of_group in zip(*of_parts, strict=True)]

    async def page(self, filter: DeadJobFilter, *, limit: int, before: DeadPosition | None = None) -> DeadPage:
        """Up to `limit` dead jobs that match, newest first, from that position on.

        Looks at `10 * limit` entries at most, or at 5,000 if more groups match than are looked at: if the newest ones
        have expired or do not match, a page may hold fewer jobs although others follow.
        """
        groups, complete = await self._matching_groups(filter)
        if not complete:
            return await self._page_of_all(filter, limit=limit, before=before)
        jobs: list[JobSnapshot] = []
        for _ in range(MAX_ROUNDS):
            missing = limit - len(jobs)
            listed = await self._list(filter, groups, before=before, most=missing + 1)
            jobs += (await self._read(listed[:missing])).values()
            if len(listed) <= missing:
                return DeadPage(jobs=jobs, next=None)
            before = listed[missing - 1].position
            if len(jobs) == limit:
                break
        return DeadPage(jobs=jobs, next=before)

    async def _page_of_all(self, filter: DeadJobFilter, *, limit: int, before: DeadPosition | None) -> DeadPage:
        """The same, found among all dead jobs of the queues."""
        jobs: list[JobSnapshot] = []
        for _ in range(MAX_ROUNDS):
            missing = limit - len(jobs)
            listed = await self._list(filter, None, before=before, most=ENTRIES_AT_ONCE)
            found = [one for one in listed if filter.takes(DeadEntry.read(one.position.entry))]
            jobs += (await self._read(found[:missing])).values()
            if len(found) <= missing and len(listed) < ENTRIES_AT_ONCE:
                return DeadPage(jobs=jobs, next=None)
            before = (found[missing - 1] if len(found) > missing else listed[-1]).position
            if len(jobs) == limit:
                break
        return DeadPage(jobs=jobs, next=before)

    async def _matching_groups(self, filter: DeadJobFilter) -> tuple[Names | None, bool]:
        """Those that match, or None if all dead jobs of the queues do; and whether these are all."""
        if filter.type and filter.fingerprint and not filter.about:
            name = f"{type_word(filter.type)} {fingerprint.token(filter.fingerprint)}"
            return [(queue, name) for queue in self.parts[0].queues_of(filter)], True
        if filter.type or filter.fingerprint or filter.about:
            found = await self.groups(filter)
            return [(group.queue, group.name) for group in found.groups], found.complete
        return None, True

    async def _list(
        self, filter: DeadJobFilter, groups: Names | None, *, before: DeadPosition | None, most: int
    ) -> list[_Listed]:
        of_parts = await of_each(self.parts, lambda part: part.newest(filter, groups, before=before, most=most))
        return sorted((one for listed in of_parts for one in listed), reverse=True)[:most]

    async def _read(self, listed: Sequence[_Listed]) -> dict[_Listed, JobSnapshot]:
        """The jobs of those entries, in their order, without those that were forgotten or run again since."""
        found = {part: [one for one in listed if one.partition == part.number] for part in self.parts}
        read = await of_each([each for each in found.items() if each[1]], lambda each: each[0].read(each[1]))
        jobs = {one: job for of_part in read for one, job in of_part.items()}
        return {one: jobs[one] for one in listed if one in jobs}


class DeadIndex:
    """The indexes of dead jobs in one Redis."""

    def __init__(self, number: int, redis: ArqRedis, *, queues: Sequence[str], ttl_ms: int) -> None:
        """`number`: of its partition."""
        self.number = number
        self.redis = redis
        self._queues = queues
        self._ttl_ms = ttl_ms
        self._groups = script.load(redis, "dead_jobs/groups")
        self._deaths = script.load(redis, "dead_jobs/deaths")

    async def groups(self, filter: DeadJobFilter) -> FoundGroups:
        """Every group here that matches: 20,000 of each queue at most, in the order of the index."""
        groups: list[DeadGroup] = []
        complete = True
        for queue in self.queues_of(filter):
            some, are_all = await self._groups_of(queue, filter)
            groups += some
            complete = complete and are_all
        return FoundGroups(groups, complete)

    async def deaths(self, groups: Sequence[DeadGroup], *, until_ms: int) -> list[list[int]]:
        """How many jobs of each group died here in each step from its first death, in whatever partition that was."""
        of_queues: dict[str, list[DeadGroup]] = {}
        for group in groups:
            of_queues.setdefault(group.queue, []).append(group)
        calls = [([keys.dead_by_group(queue)], _steps_of(some, until_ms)) for queue, some in of_queues.items()]
        answers = await script.call_each(self.redis, self._deaths, calls)
        found = {
            (queue, group.name): counts
            for (queue, some), answer in zip(of_queues.items(), answers, strict=True)
            for group, counts in zip(some, answer, strict=True)
        }
        return [found[group.queue, group.name] for group in groups]

    async def newest(
        self, filter: DeadJobFilter, groups: Names | None, *, before: DeadPosition | None, most: int
    ) -> list[_Listed]:
        """The newest `most` entries, or more, of these groups; of all dead jobs of the queues if it is None."""
        if groups is None:
            return await self._newest_of_all(self.queues_of(filter), before=before, most=most)
        return await self._newest_of(groups, before=before, most=most)

    async def read(self, listed: Sequence[_Listed]) -> dict[_Listed, JobSnapshot]:
        """The jobs of those entries, without those that were forgotten or run again since."""
        jobs: dict[_Listed, JobSnapshot] = {}
        outdated: dict[str, list[str]] = {}
        for start in range(0, len(listed), RESULTS_AT_ONCE):
            part = listed[start : start + RESULTS_AT_ONCE]
            for one, job in zip(part, await self._read_results(part), strict=True):
                if job is None:
                    outdated.setdefault(one.queue, []).append(one.position.entry)
                else:
                    jobs[one] = job
        for queue, entries in outdated.items():
            await self.remove(queue, entries)
        return jobs

    async def remove(self, queue: str, entries: Sequence[str]) -> None:
        """Removes entries from the indexes of a queue (its key)."""
        if entries:
            async with self.redis.pipeline(transaction=True) as transaction:
                transaction.zrem(keys.dead(queue), *entries)
                transaction.zrem(keys.dead_by_group(queue), *entries)
                await transaction.execute()

    def queues_of(self, filter: DeadJobFilter) -> Sequence[str]:
        """The keys of the queues that it names."""
        return self._queues if filter.queue is None else [keys.queue(filter.queue)]

    async def _groups_of(self, queue: str, filter: DeadJobFilter) -> tuple[list[DeadGroup], bool]:
        """Those of one queue, and whether they are all."""
        groups: list[DeadGroup] = []
        stopped: str | bytes = ""
        for looked in range(0, MAX_GROUPS, GROUPS_AT_ONCE):
            most = min(MAX_GROUPS - looked, GROUPS_AT_ONCE)
            arguments = [*filter.words, self._ttl_ms, most, stopped]
            stopped, found = await self._groups(keys=[keys.dead_by_group(queue)], args=arguments)
            groups += [self._group(queue, *each) for each in found]
            if not stopped:
                return groups, True
        return groups, False

    def _group(self, queue: str, count: int, oldest: bytes, newest: bytes) -> DeadGroup:
        first, last = (DeadEntry.read(entry.decode(errors="replace")) for entry in (oldest, newest))
        return DeadGroup(queue=queue, count=count, oldest=first, newest=last, newest_in=self.number)

    async def _newest_of_all(self, queues: Sequence[str], *, before: DeadPosition | None, most: int) -> list[_Listed]:
        """The newest entries by time of death.

        All entries with the time of `before` are read: among them the order is that of their texts, not of the index.
        """
        latest, same_ms = ("+inf", "(+inf") if before is None else (f"({before.at_ms}", f"{before.at_ms}")
        async with self.redis.pipeline(transaction=False) as pipeline:
            for index in map(keys.dead, queues):
                pipeline.zrevrangebyscore(index, latest, "-inf", start=0, num=most, withscores=True)
                pipeline.zrangebyscore(index, same_ms, same_ms, withscores=True)
            answers = await pipeline.execute()
        listed = [
            _Listed(DeadPosition(shown_ms(at_ms), entry.decode(errors="replace")), queue, self.number)
            for queue, (earlier, at_once) in zip(queues, rows_of(answers, 2), strict=True)
            for entry, at_ms in (*earlier, *at_once)
        ]
        return [one for one in listed if before is None or one.position < before]

    async def _newest_of(self, groups: Names, *, before: DeadPosition | None, most: int) -> list[_Listed]:
        """The newest entries of these groups; of many groups only those are read that have one of the newest."""
        if len(groups) > most:
            firsts: list[_Listed] = []
            for start in range(0, len(groups), GROUPS_AT_ONCE):
                firsts += await self._first_of(groups[start : start + GROUPS_AT_ONCE], before=before, most=1)
            newest = sorted(firsts, reverse=True)[:most]
            groups = [(one.queue, DeadEntry.read(one.position.entry).group) for one in newest]
        return await self._first_of(groups, before=before, most=most)

    async def _first_of(self, groups: Names, *, before: DeadPosition | None, most: int) -> list[_Listed]:
        """The newest `most` entries of each of these groups."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            for queue, name in groups:
                pipeline.zrevrangebylex(
                    keys.dead_by_group(queue), _latest(name, before), f"[{name} ", start=0, num=most
                )
            answers = await pipeline.execute()
        entries = [
            (queue, entry.decode(errors="replace"))
            for (queue, _), found in zip(groups, answers, strict=True)
            for entry in found
        ]
        return [
            _Listed(DeadPosition(DeadEntry.read(entry).ended_at_ms, entry), queue, self.number)
            for queue, entry in entries
        ]

    async def _read_results(self, listed: Sequence[_Listed]) -> list[JobSnapshot | None]:
        entries = [DeadEntry.read(one.position.entry) for one in listed]
        results = await self.redis.mget([keys.result(entry.job_id) for entry in entries])
        pairs = in_turns(zip(entries, results, strict=True))
        return [_dead_job(entry, result) async for entry, result in pairs]


def _merged(of_parts: Sequence[Sequence[DeadGroup]]) -> Iterable[DeadGroup]:
    """The groups of all partitions, those of one queue, type and fingerprint as one."""
    merged: dict[tuple[str, str], DeadGroup] = {}
    for group in (group for of_part in of_parts for group in of_part):
        name = (group.queue, group.name)
        merged[name] = _together(merged[name], group) if name in merged else group
    return merged.values()


def _together(one: DeadGroup, other: DeadGroup) -> DeadGroup:
    newer = max(one, other, key=lambda group: (group.newest.ended_at_ms, group.newest.job_id))
    oldest = min(one.oldest, other.oldest, key=lambda entry: (entry.ended_at_ms, entry.job_id))
    return replace(newer, count=one.count + other.count, oldest=oldest)


def _steps_of(groups: Sequence[DeadGroup], until_ms: int) -> list[str | int]:
    """The arguments of `deaths.lua`."""
    arguments: list[str | int] = [STEPS]
    for group in groups:
        first_ms = group.oldest.ended_at_ms
        arguments += [group.name, first_ms, max(-(-(until_ms - first_ms) // STEPS), 1)]
    return arguments


def _latest(group: str, before: DeadPosition | None) -> str:
    """The end of a group's range that holds what comes after that position in the list, and nothing else."""
    if before is None:
        return f"({group}!"
    its_group = DeadEntry.parse(before.entry).group
    if group == its_group:
        return f"({before.entry}"
    # entries of one millisecond are in the order of their groups
    first_left_out_ms = before.at_ms + 1 if group < its_group else before.at_ms
    return f"({group} {first_left_out_ms:0{TIME_DIGITS}d}"


def _dead_job(entry: DeadEntry, result: bytes | None) -> JobSnapshot | None:
    """The job of that entry; None if the result is missing, unreadable or of another end of the job."""
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

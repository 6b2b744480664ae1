"""Lists all jobs of some queues on one timeline, newest first: those planned, then those due, then those that ended.

An ended job stands at the moment it ended, any other at the moment when it is, or was, due. Jobs that have not ended
are read from the queues themselves, those of stock producers too; ended jobs from indexes that the scripts keep. A page
costs the same wherever it is and however many jobs there are. If the jobs are in several partitions, each is asked for
as much as a page needs, and what they answer is merged by positions: one position is a page's start in all of them.

Where it is naive: a job that moves between the reading of two pages can be missing from both. None comes twice, unless
it was deferred and somebody has made it due earlier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from arq.connections import ArqRedis
from arq.jobs import DeserializationError
from pydantic_core import to_json

from errand.monitor.job_snapshot import ENDS, JobSnapshot, Status, ended_job, live_job, number_in, without_large_fields
from errand.redis import script
from errand.redis.cluster.each import of_each
from errand.redis.rows import in_turns
from errand.wire import codec, keys
from errand.wire.flow import Flow
from errand.wire.indexes import SHARED, EndedName, type_word
from errand.wire.limits import KeptLimits, shown_ms
from errand.wire.records import RunningAttempt
from errand.wire.running import running_attempt

log = structlog.get_logger("errand.timeline")


MAX_LOOKED_AT = 1_000
"""A page reads no more jobs than that: of a rare type it may hold few, or none, and says where the next begins."""


SEARCHED_AT_ONCE = 200
"""How many jobs are read in a round trip if those of one type must be searched for among all that have not ended."""


READ_AT_ONCE = 50
"""A result holds the job's args and may be large: no more of them are in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs a list holds: those that match all that is given. Times are positions on the timeline, in ms."""

    type: str | None = None
    statuses: frozenset[Status] = frozenset()
    """The job has one of these; any, if there is none."""
    queue: str | None = None
    """By its name."""
    since_ms: int | None = None
    until_ms: int | None = None
    """Up to this moment, without it."""

    def includes(self, status: Status) -> bool:
        """True if the list holds jobs with that status."""
        return not self.statuses or status in self.statuses


Matches = Callable[[JobSnapshot], bool]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position on the timeline. Of two jobs of one moment, the one with the greater id, by its bytes, is newer."""

    at_ms: float
    job_id: bytes = b""


TOP = Position(math.inf)
"""Above all jobs, but for one that is due at infinity, which is not listed."""


@dataclass(frozen=True, slots=True)
class PageStart:
    """Where a page begins."""

    below: Position
    started_ms: tuple[float, ...] = ()
    """When the first page was read, in ms of each partition's clock: no further page has jobs that ended after that."""

    def started_in(self, partition: int) -> float:
        """By the clock of that partition; infinite if this is the first page. One that has joined since goes by the
        latest clock: none of its jobs is left out.
        """
        if partition < len(self.started_ms):
            return self.started_ms[partition]
        return max(self.started_ms, default=math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Jobs in the order of the timeline, without their args, results and attempts."""

    jobs: Sequence[JobSnapshot]
    next: PageStart | None
    """Where the next page begins; None at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A job's entry in a queue or index, as it was when the timeline was read."""

    position: Position
    part: _Part
    queue: str
    """Its key."""
    now_ms: int
    """When it was read, by the server's clock."""
    running: RunningAttempt | None = None
    index: EndedName | None = None
    """The index that lists the job; None if it had not ended."""

    @property
    def job_id(self) -> str:
        return self.position.job_id.decode(errors="replace")


class Timeline:
    """The jobs of these queues (their keys), in one Redis or in the partitions behind these clients."""

    def __init__(self, *clients: ArqRedis, queues: Sequence[str]) -> None:
        self._parts = [_Part(number, redis, queues) for number, redis in enumerate(clients)]

    async def page(
        self, filter: JobFilter, *, limit: int, start: PageStart | None = None, matches: Matches | None = None
    ) -> Page:
        """Up to `limit` jobs that match, from the top or from that start on.

        `matches` is asked of each job that matches the filter, with its args and result still in it.

        Reads 1,000 jobs at most: a page may hold fewer than `limit` although others follow.
        """
        start = start or PageStart(TOP if filter.until_ms is None else Position(filter.until_ms))
        jobs: list[JobSnapshot] = []
        looked_at = 0
        while looked_at < MAX_LOOKED_AT:
            missing, left = limit - len(jobs), MAX_LOOKED_AT - looked_at
            most = _how_many(filter, missing=missing, left=left, searches=matches is not None)
            entries, started_ms = await self._entries(filter, start, most=most)
            for some in _some_at_once(entries[:most]):
                looked_at += len(some)
                for entry, job in zip(some, await self._jobs_of(some, filter, matches), strict=True):
                    start = PageStart(entry.position, started_ms)
                    jobs += [job] if job else []
                    if len(jobs) == limit:
                        return Page(jobs=jobs, next=None if entry is entries[-1] else start)
            if len(entries) <= most:
                return Page(jobs=jobs, next=None)
        return Page(jobs=jobs, next=start)

    async def _entries(
        self, filter: JobFilter, start: PageStart, *, most: int
    ) -> tuple[list[_Entry], tuple[float, ...]]:
        """Up to one more than `most` entries from `start` on, newest first; and when the first page was read."""
        answers = await of_each(self._parts, lambda part: part.entries(filter, start, most=most + 1))
        entries = [entry for found, _ in answers for entry in found]
        entries.sort(key=lambda entry: entry.position, reverse=True)
        since_ms = -math.inf if filter.since_ms is None else filter.since_ms
        started_ms = start.started_ms or tuple(now_ms for _, now_ms in answers)
        return [entry for entry in entries[: most + 1] if entry.position.at_ms >= since_ms], started_ms

    async def _jobs_of(
        self, entries: Sequence[_Entry], filter: JobFilter, matches: Matches | None = None
    ) -> list[JobSnapshot | None]:
        """The job of each entry as it is now; None if it is gone, or does not match."""
        of_parts: dict[_Part, list[_Entry]] = {}
        for entry in entries:
            of_parts.setdefault(entry.part, []).append(entry)
        read = await of_each(list(of_parts.items()), lambda each: each[0].jobs_of(each[1], filter, matches))
        jobs = {part: iter(found) for part, found in zip(of_parts, read, strict=True)}
        return [next(jobs[entry.part]) for entry in entries]


class _Part:
    """The part of a timeline that one Redis has."""

    def __init__(self, number: int, redis: ArqRedis, queues: Sequence[str]) -> None:
        self._number = number
        self._redis = redis
        self._queues = queues
        self._read_entries = script.load(redis, "monitor/timeline")
        self._prune_index = script.load(redis, "monitor/prune_index")

    async def entries(self, filter: JobFilter, start: PageStart, *, most: int) -> tuple[list[_Entry], float]:
        """The newest `most` entries of each queue and index from `start` on; and what time it is there, in ms."""
        queues = self._queues if filter.queue is None else [keys.queue(filter.queue)]
        started_ms = start.started_in(self._number)
        arguments = [_options(filter, start.below, started_ms=started_ms, most=most), start.below.job_id]
        calls = [([queue, keys.running(queue), keys.ended(queue)], arguments) for queue in queues]
        answers = await script.call_each(self._redis, self._read_entries, calls)
        entries = [
            entry
            for queue, answer in zip(queues, answers, strict=True)
            for entry in self._entries_in(queue, *answer)
            if entry.position < start.below
        ]
        return entries, min(float(now_ms) for now_ms, *_ in answers)

    def _entries_in(
        self,
        queue: str,
        now: bytes,
        running: Sequence[bytes],
        waiting: Sequence[bytes],
        ended: Sequence[Sequence[bytes]],
    ) -> Iterable[_Entry]:
        """The entries in the script's answer for one queue."""
        entry = partial(_Entry, part=self, queue=queue, now_ms=int(float(now)))
        for job_id, started in _pairs(running):
            if (attempt := running_attempt(started)) is not None:
                yield entry(position=Position(attempt.due_at_ms, job_id), running=attempt)
        for job_id, due in _pairs(waiting):
            yield entry(position=Position(float(due), job_id))
        for name, *ids_and_times in ended:
            index = EndedName.parse(name.decode())
            for job_id, ended_ms in _pairs(ids_and_times):
                yield entry(position=Position(float(ended_ms), job_id), index=index)

    async def jobs_of(
        self, entries: Sequence[_Entry], filter: JobFilter, matches: Matches | None
    ) -> list[JobSnapshot | None]:
        """The job of each entry as it is now; None if it is gone, or does not match."""
        names = [_names_of(entry) for entry in entries]
        values = iter(await self._redis.mget([name for of_one in names for name in of_one]))
        jobs: list[JobSnapshot | None] = []
        outdated: list[_Entry] = []
        rows = [[next(values) for _ in of_one] for of_one in names]
        async for entry, row in in_turns(zip(entries, rows, strict=True)):
            job = _job_of(entry, row)
            if entry.index is not None and not _is_listed(job, entry.index):
                outdated.append(entry)
                job = None
            fits = job is not None and _matches(job, filter) and (matches is None or matches(job))
            jobs.append(without_large_fields(job) if job and fits else None)
        await self._prune(outdated)
        return jobs

    async def _prune(self, outdated: Iterable[_Entry]) -> None:
        """Removes these entries from the indexes of ended jobs."""
        by_index: dict[str, list[bytes | float]] = {}
        for entry in outdated:
            index = keys.ended_index(entry.queue, str(entry.index))
            by_index.setdefault(index, []).extend((entry.position.job_id, entry.position.at_ms))
        for index, ids_and_times in by_index.items():
            await self._prune_index(keys=[index], args=ids_and_times)


def _how_many(filter: JobFilter, *, missing: int, left: int, searches: bool = False) -> int:
    """How many jobs to read in one round trip."""
    unfinished: tuple[Status, ...] = ("queued", "deferred", "in_progress")
    searches = searches or (filter.type is not None and any(map(filter.includes, unfinished)))
    return min(max(missing, SEARCHED_AT_ONCE if searches else 0), left)


def _some_at_once(entries: Sequence[_Entry]) -> Iterable[Sequence[_Entry]]:
    return (entries[start : start + READ_AT_ONCE] for start in range(0, len(entries), READ_AT_ONCE))


def _options(filter: JobFilter, below: Position, *, started_ms: float, most: int) -> bytes:
    """The options of timeline.lua. A time is a text: Lua's JSON would round it."""
    queued, deferred = filter.includes("queued"), filter.includes("deferred")
    return to_json(
        {
            "below_ms": _text(below.at_ms),
            "most": most,
            "ended_before_ms": _text(started_ms),
            "type": "" if filter.type is None else type_word(filter.type),
            "waiting": "both" if queued and deferred else "queued" if queued else "deferred" if deferred else "",
            # if its worker has died, a running job is queued again
            "with_running": queued or filter.includes("in_progress"),
            "ends": [end for end in sorted(ENDS) if filter.includes(end)],
        }
    )


def _text(at_ms: float) -> str:
    return "+inf" if at_ms == math.inf else f"{at_ms:.17g}"


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _names_of(entry: _Entry) -> list[str]:
    """The keys from which the job is read."""
    job_id = entry.job_id
    if entry.index is not None:
        return [keys.result(job_id)]
    return [keys.result(job_id), keys.body(job_id), keys.lease(job_id), keys.tries(job_id)]


def _job_of(entry: _Entry, values: Sequence[bytes | None]) -> JobSnapshot | None:
    """The job as it is now; one that waited or ran may have ended meanwhile."""
    result, *live = values
    if result is not None:
        try:
            return ended_job(entry.job_id, result)
        except (DeserializationError, ValueError, TypeError, KeyError):
            log.warning("a job's result cannot be read and is left out", job_id=entry.job_id)
            return None
    body, lease, tries = live or (None, None, None)
    if body is None:
        return None
    job, record = codec.job_in(body)
    return live_job(
        entry.job_id,
        job,
        limits=KeptLimits.of(record),
        flow=Flow.of(record),
        queue=entry.queue,
        due_at_ms=shown_ms(entry.position.at_ms),
        running=entry.running,
        in_progress=lease is not None,
        tries=number_in(tries),
        now_ms=entry.now_ms,
    )


def _is_listed(job: JobSnapshot | None, index: EndedName) -> bool:
    """True if the index still is the one that lists the job."""
    return job is not None and job.status == index.end and index.type in (type_word(job.type), SHARED)


def _matches(job: JobSnapshot, filter: JobFilter) -> bool:
    return filter.includes(job.status) and filter.type in (None, job.type)

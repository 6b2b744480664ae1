"""All jobs of some queues on one timeline, newest first: what is planned, then what is due, then what has ended.

A job stands at the moment it ended, or, while it has not, at the moment it is, or was, due. What is unfinished is read
from the queues themselves, stock producers' jobs included; what has ended from indexes that the scripts keep which
end jobs. A page costs the same wherever it is and however many jobs there are.

Naive in this: a job that changes its place between two pages can be missing from both; it is in none twice, unless
it was deferred and somebody has made it due earlier.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog
from arq.connections import ArqRedis
from arq.jobs import DeserializationError

from errand.monitor.job_snapshot import ENDS, JobSnapshot, Status, ended_job, live_job, running_attempt
from errand.redis import script
from errand.wire import codec, keys
from errand.wire.indexes import SHARED, EndedName, type_word
from errand.wire.limits import KeptLimits, shown_ms
from errand.wire.records import RunningAttempt

log = structlog.get_logger("errand.timeline")


MAX_LOOKED_AT = 1_000
"""So many jobs a page reads at most: of a rare type among many it holds few, or none, and says where to go on."""


SEARCHED_AT_ONCE = 200
"""Where the type of unfinished jobs must be read from them, so many are asked for in a round trip."""


READ_AT_ONCE = 50
"""A result holds the job's args and may be large: this many are in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are meant, by all that is given; times are ms since the epoch, on the timeline."""

    type: str | None = None
    statuses: frozenset[Status] = frozenset()
    """One of these; any where there is none."""
    queue: str | None = None
    """By its name."""
    since_ms: int | None = None
    until_ms: int | None = None
    """That moment itself is left out."""

    def includes(self, status: Status) -> bool:
        """Whether jobs in that state are meant."""
        return not self.statuses or status in self.statuses


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place on the timeline; of one moment the greater id, by its bytes, is the newer."""

    at_ms: float
    job_id: bytes = b""


TOP = Position(math.inf)
"""What is due at the end of all days is not below it, and not listed."""


@dataclass(frozen=True, slots=True)
class PageStart:
    """Where a page begins."""

    below: Position
    started_ms: float | None = None
    """When the first page was read, in ms of the server's clock: what has ended since is in none of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Jobs in the order of the timeline, without their args, results and attempts."""

    jobs: Sequence[JobSnapshot]
    next: PageStart | None
    """None at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a job was when the timeline was looked at."""

    position: Position
    queue: str
    now_ms: int
    """When that was."""
    running: RunningAttempt | None = None
    listed: EndedName | None = None
    """The index, of a job that had ended."""

    @property
    def job_id(self) -> str:
        return self.position.job_id.decode(errors="replace")


class Timeline:
    """The jobs of these queues (their keys)."""

    def __init__(self, redis: ArqRedis, *, queues: Sequence[str]) -> None:
        self._redis = redis
        self._queues = queues
        self._look = script.load(redis, "monitor/timeline")
        self._unlist = script.load(redis, "monitor/prune_index")

    async def page(self, which: JobFilter, *, limit: int, start: PageStart | None = None) -> Page:
        """Up to `limit` jobs that match, from the top or from that start on.

        Reads 1,000 jobs at most: a page may hold fewer than `limit` although others follow.
        """
        start = start or PageStart(TOP if which.until_ms is None else Position(which.until_ms))
        jobs: list[JobSnapshot] = []
        looked_at = 0
        while looked_at < MAX_LOOKED_AT:
            most = _how_many(which, missing=limit - len(jobs), left=MAX_LOOKED_AT - looked_at)
            places, started_ms = await self._places(which, start, most=most)
            for part in _parts(places[:most]):
                looked_at += len(part)
                for place, job in zip(part, await self._read(part, which), strict=True):
                    start = PageStart(place.position, started_ms)
                    jobs += [job] if job else []
                    if len(jobs) == limit:
                        return Page(jobs=jobs, next=None if place is places[-1] else start)
            if len(places) <= most:
                return Page(jobs=jobs, next=None)
        return Page(jobs=jobs, next=start)

    async def _places(self, which: JobFilter, start: PageStart, *, most: int) -> tuple[list[_Place], float]:
        """Up to one more than `most` places from `start` on, newest first; and when the first page was started."""
        queues = self._queues if which.queue is None else [keys.queue(which.queue)]
        arguments = _arguments(which, start, most=most + 1)
        calls = [([queue, keys.running(queue), keys.ended(queue)], arguments) for queue in queues]
        answers = await script.call_each(self._redis, self._look, calls)
        places = [
            place
            for queue, answer in zip(queues, answers, strict=True)
            for place in _places_in(queue, *answer)
            if place.position < start.below
        ]
        places.sort(key=lambda place: place.position, reverse=True)
        since_ms = -math.inf if which.since_ms is None else which.since_ms
        started_ms = min(float(now_ms) for now_ms, *_ in answers) if start.started_ms is None else start.started_ms
        return [place for place in places[: most + 1] if place.position.at_ms >= since_ms], started_ms

    async def _read(self, places: Sequence[_Place], which: JobFilter) -> list[JobSnapshot | None]:
        """The jobs at those places as they are now; None for what is gone, or does not match."""
        names = [_names_of(place) for place in places]
        values = iter(await self._redis.mget([name for of_one in names for name in of_one]))
        jobs: list[JobSnapshot | None] = []
        outdated: dict[str, list[bytes | float]] = {}
        for place, of_one in zip(places, names, strict=True):
            job = _job_at(place, [next(values) for _ in of_one])
            if place.listed is not None and not _is_listed(job, place.listed):
                index = keys.ended_index(place.queue, str(place.listed))
                outdated.setdefault(index, []).extend((place.position.job_id, place.position.at_ms))
                job = None
            jobs.append(_lighter(job) if job and _matches(job, which) else None)
        for index, entries in outdated.items():
            await self._unlist(keys=[index], args=entries)
        return jobs


def _how_many(which: JobFilter, *, missing: int, left: int) -> int:
    searches = which.type is not None and any(which.includes(state) for state in ("queued", "deferred", "in_progress"))
    return min(max(missing, SEARCHED_AT_ONCE if searches else 0), left)


def _parts(places: Sequence[_Place]) -> Iterable[Sequence[_Place]]:
    return (places[start : start + READ_AT_ONCE] for start in range(0, len(places), READ_AT_ONCE))


def _arguments(which: JobFilter, start: PageStart, *, most: int) -> list[str | bytes | int]:
    """The script's ARGV."""
    queued, deferred = which.includes("queued"), which.includes("deferred")
    return [
        _number(start.below.at_ms),
        start.below.job_id,
        most,
        _number(math.inf if start.started_ms is None else start.started_ms),
        "" if which.type is None else type_word(which.type),
        "both" if queued and deferred else "queued" if queued else "deferred" if deferred else "",
        # of a worker that has died it is due again
        int(queued or which.includes("in_progress")),
        *(end for end in sorted(ENDS) if which.includes(end)),
    ]


def _number(at_ms: float) -> str:
    return "+inf" if at_ms == math.inf else f"{at_ms:.17g}"


def _places_in(
    queue: str, now: bytes, running: Sequence[bytes], waiting: Sequence[bytes], *indexes: Sequence[bytes]
) -> Iterable[_Place]:
    """What the script has answered of one queue."""
    now_ms = int(float(now))
    for job_id, started in _pairs(running):
        attempt = running_attempt(started)
        yield _Place(position=Position(attempt.due_at_ms, job_id), queue=queue, now_ms=now_ms, running=attempt)
    for job_id, due in _pairs(waiting):
        yield _Place(position=Position(float(due), job_id), queue=queue, now_ms=now_ms)
    for name, *entries in indexes:
        listed = EndedName.parse(name.decode())
        for job_id, ended_ms in _pairs(entries):
            yield _Place(position=Position(float(ended_ms), job_id), queue=queue, now_ms=now_ms, listed=listed)


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _names_of(place: _Place) -> list[str]:
    job_id = place.job_id
    if place.listed is not None:
        return [keys.result(job_id)]
    return [keys.result(job_id), keys.body(job_id), keys.lease(job_id), keys.tries(job_id)]


def _job_at(place: _Place, values: Sequence[bytes | None]) -> JobSnapshot | None:
    """The job as it is now; one that waited or ran may have ended meanwhile."""
    result, *live = values
    if result is not None:
        try:
            return ended_job(place.job_id, result)
        except (DeserializationError, ValueError, TypeError, KeyError):
            log.warning("a job's result cannot be read and is left out", job_id=place.job_id)
            return None
    body, lease, tries = live or (None, None, None)
    if body is None:
        return None
    job, record = codec.job_in(body)
    return live_job(
        place.job_id,
        job,
        limits=KeptLimits.of(record),
        queue=place.queue,
        due_at_ms=shown_ms(place.position.at_ms),
        running=place.running,
        in_progress=lease is not None,
        tries=int(tries or 0),
        now_ms=place.now_ms,
    )


def _is_listed(job: JobSnapshot | None, listed: EndedName) -> bool:
    """Whether the job still is what the index says."""
    return job is not None and job.status == listed.end and listed.type in (type_word(job.type), SHARED)


def _matches(job: JobSnapshot, which: JobFilter) -> bool:
    return which.includes(job.status) and which.type in (None, job.type)


def _lighter(job: JobSnapshot) -> JobSnapshot:
    """Without what may be large."""
    error = job.error and replace(job.error, traceback=None)
    return replace(job, args={}, result=None, attempts=(), progress=None, error=error)

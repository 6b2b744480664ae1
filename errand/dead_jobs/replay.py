"""Puts dead and cancelled jobs again: one, or many that match a filter, at a pace.

A job is replayed under its own id, with the args and the time of acceptance that it had, and with all of its tries: a
receiver that knows jobs by their ids recognises it. What `ctx.once` has marked is kept. A full queue refuses none of
them, because they were accepted before.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic_core import to_json

from errand.dead_jobs.dead_jobs import RESULTS_AT_ONCE, DeadGroup, DeadIndex, DeadJobFilter, DeadJobs
from errand.queue.sender import MAX_BATCH
from errand.redis import script
from errand.redis.cluster.each import of_each
from errand.redis.outage import is_outage, within
from errand.redis.rows import in_turns
from errand.wire import codec, keys
from errand.wire.flow import Flow
from errand.wire.indexes import DeadEntry, EndedName
from errand.wire.limits import KeptLimits
from errand.wire.origin import JobOrigin

ReplayAnswer = Literal["replayed", "succeeded", "bodiless", "gone", "changed"]


IDS_SHOWN = 10


MAX_S = 20.0
"""How long one call may take; what it has not reached by then is left for the next call."""


class ReplayCutShort(Exception):
    """Redis went away after `count` jobs were replayed; it may still run the script call that it has not answered."""

    def __init__(self, count: int) -> None:
        super().__init__(f"redis went away after {count} jobs")
        self.count = count


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What one call did, or would do."""

    count: int = 0
    ids: list[str] = field(default_factory=list)
    """The first ten."""
    skipped: int = 0
    """Jobs that were forgotten meanwhile, replayed by another call, or whose args are lost."""
    remaining: int = 0
    """Dead jobs that match as well, and were not replayed."""
    last_due_at_ms: int | None = None
    """When the last of the replayed jobs is due, ms since the epoch; None if none was replayed."""

    @property
    def looked_at(self) -> int:
        """How many dead jobs the call has come to."""
        return self.count + self.skipped

    def add(self, due_at_ms: Mapping[str, int], *, of: int) -> None:
        """Counts the jobs that were put again out of so many entries, given by their ids and when they are due."""
        self.count += len(due_at_ms)
        self.ids += list(due_at_ms)[: IDS_SHOWN - len(self.ids)]
        self.skipped += of - len(due_at_ms)
        self.last_due_at_ms = max([self.last_due_at_ms or 0, *due_at_ms.values()]) or None


@dataclass(frozen=True, slots=True)
class _Ended:
    """A job that has ended, as its result says."""

    job_id: str
    digest: str
    """The SHA-1 of the result."""
    body: bytes | None
    """The job as it is put again; None if the result does not hold its args."""
    entry: DeadEntry | None
    """Its entry among the dead; None if it did not fail for good."""
    succeeded: bool
    index: EndedName
    """The index of ended jobs that lists it."""
    flow: Flow

    @classmethod
    def read(cls, job_id: str, result: bytes | None) -> _Ended | None:
        """None if there is no result, or none that can be read."""
        try:
            record = codec.loads(result or b"")
            job = {"t": None, **{name: record[name] for name in ("f", "a", "k", "et")}}
            # a replayed job runs although its time is over; how often it is tried stays as it was asked
            job |= replace(KeptLimits.of(record), expires_at_ms=None).fields() | Flow.of(record).fields()
            job |= JobOrigin.of(record, job_id=job_id).fields()
        except (ValueError, KeyError, TypeError):
            return None
        known = job["f"] not in (codec.UNKNOWN, codec.UNREADABLE)
        return cls(
            job_id=job_id,
            digest=hashlib.sha1(result or b"", usedforsecurity=False).hexdigest(),
            body=codec.dumps(job) if known else None,
            entry=DeadEntry.in_result(job_id, record),
            succeeded=record.get("s") is True,
            index=EndedName.in_result(record),
            flow=Flow.of(record),
        )


@dataclass(frozen=True, slots=True)
class _Pace:
    """When the jobs of one call are due: at once, or `per_second` of them in each second from `started_ms` on."""

    started_ms: int
    per_second: float | None

    def run_at_ms(self, number: int) -> int | None:
        """When the job with that number is due, the first one having 0; None means at once."""
        return None if self.per_second is None else self.started_ms + int(number * 1000 / self.per_second)


class Replays:
    """Replays jobs of the queues that `dead` reads; one call to Redis may take `deadline_s`, else it is given up."""

    def __init__(
        self,
        dead: DeadJobs,
        *,
        deadline_s: float | None = None,
        partition_of: Callable[[str], int] = lambda job_id: 0,
    ) -> None:
        """`partition_of`: the number of the partition that most likely has the job of that id."""
        self._dead = dead
        self._deadline_s = deadline_s
        self._partition_of = partition_of
        self.parts = [ReplaysOfPart(index, deadline_s=deadline_s) for index in dead.parts]

    async def one(self, job_id: str, *, queue: str, seen: str = "") -> ReplayAnswer:
        """Replays a job that failed or was cancelled, at once, into the queue (its key) in which it ended.

        Any other answer says why it was not replayed: the job `succeeded`; it is `bodiless`, since its args are lost;
        it is `gone`, or another call was first; it has `changed`, since its revision is not `seen`, which is given.
        """
        likely = self._partition_of(job_id)
        for part in (self.parts[likely], *self.parts[:likely], *self.parts[likely + 1 :]):
            if (answer := await part.one(job_id, queue=queue, seen=seen)) != "gone":
                return answer
        return "gone"

    async def preview(self, filter: DeadJobFilter, *, limit: int) -> Replayed:
        """What `many` would do, as far as the indexes say."""
        matching = (await self._dead.groups(filter)).jobs
        shown = min(limit, IDS_SHOWN)
        ids: list[str] = []
        for part in self.parts:
            async for _, entries in part.batches(filter, limit=shown - len(ids)):
                ids += [DeadEntry.read(entry).job_id for entry in entries]
        return Replayed(count=min(matching, limit), ids=ids, remaining=max(matching - limit, 0))

    async def many(self, filter: DeadJobFilter, *, limit: int, per_second: float | None = None) -> Replayed:
        """Replays dead jobs that match, one partition after the other, in each the oldest of each group first.

        Looks at `limit` of them, 10,000 at most. All are due at once, or `per_second` of them in each second from now
        on. Makes many short calls to Redis, none of which holds it up, and stops after 20 s. Raises ValueError for a
        larger limit, ReplayCutShort, and redis' errors if Redis is away from the start.
        """
        if limit > MAX_BATCH:
            raise ValueError(f"{limit} jobs are over the limit of {MAX_BATCH} for one call")
        done = Replayed()
        try:
            await self._replay_all(filter, done, limit=limit, per_second=per_second)
            done.remaining = (await within(self._deadline_s, self._dead.groups(filter))).jobs
        except Exception as error:
            if done.count and is_outage(error):
                raise ReplayCutShort(done.count) from error
            raise
        return done

    async def _replay_all(self, filter: DeadJobFilter, done: Replayed, *, limit: int, per_second: float | None) -> None:
        until_s = time.monotonic() + MAX_S
        # each partition's clock decides what is due there
        paces = await of_each(self.parts, lambda part: part.pace(per_second))
        for part, pace in zip(self.parts, paces, strict=True):
            await part.replay_all(filter, done, limit=limit - done.looked_at, pace=pace, until_s=until_s)


class ReplaysOfPart:
    """Replays the dead jobs that one Redis has."""

    def __init__(self, index: DeadIndex, *, deadline_s: float | None) -> None:
        self._index = index
        self._redis = index.redis
        self._deadline_s = deadline_s
        self._replay = script.load(index.redis, "dead_jobs/replay")

    async def one(self, job_id: str, *, queue: str, seen: str) -> ReplayAnswer:
        """As `Replays.one`; `gone` if the job is not here."""
        ended = (await within(self._deadline_s, self._results([job_id])))[0]
        if ended is None:
            return "gone"
        if ended.succeeded:
            return "succeeded"
        if ended.body is None:
            return "bodiless"
        # the script replays the job only if its result is still the one read here
        if seen not in ("", ended.digest):
            return "changed"
        (due_at_ms,) = await within(self._deadline_s, self._put(queue, [ended], [None]))
        return "replayed" if due_at_ms else "gone"

    async def pace(self, per_second: float | None) -> _Pace:
        """That pace from now on."""
        return _Pace(await within(self._deadline_s, self._now_ms()), per_second)

    async def replay_all(
        self, filter: DeadJobFilter, done: Replayed, *, limit: int, pace: _Pace, until_s: float
    ) -> None:
        """Replays up to `limit` dead jobs that match, and adds to `done`; stops at `until_s` of the monotonic clock."""
        async for queue, entries in self.batches(filter, limit=limit):
            await self._replay_batch(queue, entries, done, pace)
            if time.monotonic() > until_s:
                return

    async def batches(self, filter: DeadJobFilter, *, limit: int) -> AsyncIterator[tuple[str, list[str]]]:
        """(queue, entries) of up to `limit` dead jobs in all.

        No more of a group than were in it at first: a job that dies again at once is not replayed again.
        """
        if limit <= 0:
            return
        for group in (await within(self._deadline_s, self._index.groups(filter))).groups:
            after, left = f"[{group.oldest}", min(group.count, limit)
            while left > 0:
                call = self._next_of(group, after=after, most=min(left, RESULTS_AT_ONCE))
                entries = await within(self._deadline_s, call)
                if not entries:
                    break
                yield group.queue, entries
                after = f"({entries[-1]}"
                left -= len(entries)
                limit -= len(entries)

    async def _next_of(self, group: DeadGroup, *, after: str, most: int) -> list[str]:
        index = keys.dead_by_group(group.queue)
        return [
            entry.decode(errors="replace")
            for entry in await self._redis.zrangebylex(index, after, f"({group.name}!", 0, most)
        ]

    async def _now_ms(self) -> int:
        seconds, micros = await self._redis.time()
        return int(seconds * 1000 + micros // 1000)

    async def _replay_batch(self, queue: str, entries: Sequence[str], done: Replayed, pace: _Pace) -> None:
        jobs, outdated = await self._read(entries)
        due_at_ms: dict[str, int] = {}
        if jobs:
            times = [pace.run_at_ms(done.count + number) for number in range(len(jobs))]
            answers = await within(self._deadline_s, self._put(queue, jobs, times))
            due_at_ms = {job.job_id: at_ms for job, at_ms in zip(jobs, answers, strict=True) if at_ms is not None}
        done.add(due_at_ms, of=len(entries))
        await within(self._deadline_s, self._index.remove(queue, outdated))

    async def _read(self, entries: Sequence[str]) -> tuple[list[_Ended], list[str]]:
        """The jobs of these entries that can be put again; and the entries that no longer say what a job is."""
        ids = [DeadEntry.read(entry).job_id for entry in entries]
        found = await within(self._deadline_s, self._results(ids))
        jobs, outdated = [], []
        for entry, ended in zip(entries, found, strict=True):
            if ended is None or str(ended.entry) != entry:
                outdated.append(entry)
            elif ended.body is not None:
                jobs.append(ended)
        return jobs, outdated

    async def _results(self, job_ids: Sequence[str]) -> list[_Ended | None]:
        """The jobs as they ended.

        A stock client may have asked to abort one after its end; that must not abort what is put again.
        """
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.mget([keys.result(job_id) for job_id in job_ids])
            pipeline.zrem(keys.ABORT, *job_ids)
            results, _ = await pipeline.execute()
        return [_Ended.read(job_id, result) async for job_id, result in in_turns(zip(job_ids, results, strict=True))]

    async def _put(self, queue: str, jobs: Sequence[_Ended], run_at_ms: Sequence[int | None]) -> list[int | None]:
        """When each job is due, ms since the epoch; None if its result is not what it was."""
        arguments: list[str | bytes] = [keys.events(queue)]
        for job, at_ms in zip(jobs, run_at_ms, strict=True):
            arguments += (_replay_options(job, run_at_ms=at_ms), job.body or b"")
        names = [queue, keys.wake(queue), keys.dead(queue), keys.dead_by_group(queue), keys.ended(queue)]
        names.append(keys.needed(queue))
        answers: list[int | None] = await self._replay(keys=names, args=arguments)
        return answers


def _replay_options(job: _Ended, *, run_at_ms: int | None) -> bytes:
    options: dict[str, Any] = {"id": job.job_id, "digest": job.digest, "index": str(job.index)}
    if job.flow.needs is not None:
        options["waited"] = True
    if (last := job.flow.last) is not None:
        options["ends"] = [last.id, keys.needed(keys.queue(last.queue))]
    if job.entry is not None:
        options["entry"] = str(job.entry)
    return to_json(options if run_at_ms is None else {**options, "run_at_ms": run_at_ms})

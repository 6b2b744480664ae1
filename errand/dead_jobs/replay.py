"""Puts dead and cancelled jobs again: one, or many of a kind at a pace.

A job is replayed under its own id, with the args and the time of acceptance it had, and with all of its tries; a
receiver that knows jobs by their id recognises it. What `ctx.once` has marked is kept. A full queue refuses none of
them: they were accepted before.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from arq.connections import ArqRedis

from errand.dead_jobs.dead_jobs import RESULTS_AT_ONCE, DeadGroup, DeadJobFilter, DeadJobs
from errand.queue.sender import MAX_BATCH
from errand.redis import script
from errand.redis.outage import is_outage, within
from errand.wire import codec, keys
from errand.wire.indexes import DeadEntry, EndedName
from errand.wire.limits import KeptLimits

ReplayAnswer = Literal["replayed", "succeeded", "bodiless", "gone", "changed"]


IDS_SHOWN = 10


MAX_S = 20.0
"""How long one call goes on; what it has not come to remains, and the next call takes it."""


class ReplayCutShort(Exception):
    """Redis went away in the middle: `count` jobs have been replayed; the call that it left open may replay more."""

    def __init__(self, count: int) -> None:
        super().__init__(f"redis went away after {count} jobs")
        self.count = count


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What one call has done, or would do."""

    count: int = 0
    ids: list[str] = field(default_factory=list)
    """The first ten."""
    skipped: int = 0
    """Forgotten meanwhile, taken by another call, or without a body to put."""
    remaining: int = 0
    """Dead jobs that match as well, and were left."""
    last_due_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _Ended:
    """A job as its result shows it."""

    job_id: str
    digest: str
    body: bytes | None
    """None where the result does not hold what the job was."""
    entry: DeadEntry | None
    succeeded: bool
    listed: EndedName
    """The index that it is listed in."""

    @classmethod
    def read(cls, job_id: str, result: bytes | None) -> _Ended | None:
        """None where there is no result, or none that can be read."""
        try:
            record = codec.loads(result or b"")
            job = {"t": None, **{name: record[name] for name in ("f", "a", "k", "et")}}
            # who replays a job wants it run, late as it is; how often it is tried stays as it was asked
            job |= replace(KeptLimits.of(record), expires_at_ms=None).fields()
        except (ValueError, KeyError, TypeError):
            return None
        known = job["f"] not in (codec.UNKNOWN, codec.UNREADABLE)
        return cls(
            job_id=job_id,
            digest=hashlib.sha1(result or b"", usedforsecurity=False).hexdigest(),
            body=codec.dumps(job) if known else None,
            entry=DeadEntry.in_result(job_id, record),
            succeeded=record.get("s") is True,
            listed=EndedName.in_result(record),
        )


@dataclass(frozen=True, slots=True)
class _Pace:
    """When the jobs of one call are due: at once, or so many a second from now on."""

    started_ms: int
    per_second: float | None

    def run_at_ms(self, number: int) -> int | None:
        return None if self.per_second is None else self.started_ms + int(number * 1000 / self.per_second)


class Replays:
    """Replays jobs of the queues that `dead` reads; `deadline_s` is the longest that one call to Redis may take."""

    def __init__(self, redis: ArqRedis, dead: DeadJobs, *, deadline_s: float | None = None) -> None:
        self._redis = redis
        self._dead = dead
        self._deadline_s = deadline_s
        self._replay = script.load(redis, "dead_jobs/replay")

    async def one(self, job_id: str, *, queue: str, seen: str = "") -> ReplayAnswer:
        """Replays a job that failed or was cancelled, at once, into the queue (its key) that it ended in.

        Else says why not: it `succeeded`; what it was is not known any more; it is `gone`, or another was first; where
        `seen` is given and is not its revision, it has `changed`.
        """
        ended = (await within(self._deadline_s, self._results([job_id])))[0]
        if ended is None:
            return "gone"
        if ended.succeeded:
            return "succeeded"
        if ended.body is None:
            return "bodiless"
        # what is read here is what the script demands to find, so that this look decides
        if seen not in ("", ended.digest):
            return "changed"
        (due_at_ms,) = await within(self._deadline_s, self._put(queue, [ended], [None]))
        return "replayed" if due_at_ms else "gone"

    async def preview(self, which: DeadJobFilter, *, limit: int) -> Replayed:
        """What `many` would do, as far as the indexes know. Raises TooManyGroups."""
        groups = await self._dead.groups(which)
        matching = sum(group.count for group in groups)
        ids: list[str] = []
        async for _, entries in self._batches(which, limit=min(limit, IDS_SHOWN)):
            ids += [DeadEntry.parse(entry).job_id for entry in entries]
        return Replayed(count=min(matching, limit), ids=ids, remaining=max(matching - limit, 0))

    async def many(self, which: DeadJobFilter, *, limit: int, per_second: float | None = None) -> Replayed:
        """Replays dead jobs that match, the oldest of each group first; looks at `limit` of them, 10,000 at most.

        All are due at once, or `per_second` of them in a second, from now on. Many short calls to Redis, none of which
        holds it up; stops after 20 s. Raises ValueError for a larger limit, TooManyGroups, ReplayCutShort, and redis'
        errors where Redis is away from the start.
        """
        if limit > MAX_BATCH:
            raise ValueError(f"{limit} jobs are over the limit of {MAX_BATCH} for one call")
        done = Replayed()
        try:
            await self._replay_all(which, done, limit=limit, per_second=per_second)
            done.remaining = sum(group.count for group in await self._groups(which))
        except Exception as error:
            if done.count and is_outage(error):
                raise ReplayCutShort(done.count) from error
            raise
        return done

    async def _replay_all(self, which: DeadJobFilter, done: Replayed, *, limit: int, per_second: float | None) -> None:
        pace = _Pace(await within(self._deadline_s, self._now_ms()), per_second)
        until_s = time.monotonic() + MAX_S
        async for queue, entries in self._batches(which, limit=limit):
            await self._replay_batch(queue, entries, done, pace)
            if time.monotonic() > until_s:
                return

    async def _batches(self, which: DeadJobFilter, *, limit: int) -> AsyncIterator[tuple[str, list[str]]]:
        """(queue, entries) of up to `limit` dead jobs in all.

        Of each group no more than were in it at first: a job that dies again at once is not replayed again.
        """
        for group in await self._groups(which):
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
        return [entry.decode() for entry in await self._redis.zrangebylex(index, after, f"({group.name}!", 0, most)]

    async def _now_ms(self) -> int:
        seconds, micros = await self._redis.time()
        return int(seconds * 1000 + micros // 1000)

    async def _groups(self, which: DeadJobFilter) -> Sequence[DeadGroup]:
        return await within(self._deadline_s, self._dead.groups(which))

    async def _replay_batch(self, queue: str, entries: Sequence[str], done: Replayed, pace: _Pace) -> None:
        jobs, outdated = await self._as_listed(entries)
        put: list[str] = []
        if jobs:
            times = [pace.run_at_ms(done.count + number) for number in range(len(jobs))]
            answers = await within(self._deadline_s, self._put(queue, jobs, times))
            put = [job.job_id for job, due_at_ms in zip(jobs, answers, strict=True) if due_at_ms]
            done.count += len(put)
            done.ids += put[: IDS_SHOWN - len(done.ids)]
            done.last_due_at_ms = max([done.last_due_at_ms or 0, *map(abs, answers)]) or None
        done.skipped += len(entries) - len(put)
        await within(self._deadline_s, self._dead.remove(queue, outdated))

    async def _as_listed(self, entries: Sequence[str]) -> tuple[list[_Ended], list[str]]:
        """The jobs that still are what their entries say, as far as they can be put again; and outdated entries."""
        ids = [DeadEntry.parse(entry).job_id for entry in entries]
        found = await within(self._deadline_s, self._results(ids))
        jobs, outdated = [], []
        for entry, ended in zip(entries, found, strict=True):
            if ended is None or str(ended.entry) != entry:
                outdated.append(entry)
            elif ended.body is not None:
                jobs.append(ended)
        return jobs, outdated

    async def _results(self, job_ids: Sequence[str]) -> list[_Ended | None]:
        """The jobs as they ended; a stock client's abort of what has ended must not hit what is put again."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.mget([keys.result(job_id) for job_id in job_ids])
            pipeline.zrem(keys.ABORT, *job_ids)
            results, _ = await pipeline.execute()
        return [_Ended.read(job_id, result) for job_id, result in zip(job_ids, results, strict=True)]

    async def _put(self, queue: str, jobs: Sequence[_Ended], run_at_ms: Sequence[int | None]) -> list[int]:
        """When each is due in ms, negative for later; 0 where its result is not what it was."""
        arguments: list[str | bytes | int] = [keys.events(queue)]
        for ended, at_ms in zip(jobs, run_at_ms, strict=True):
            entry = "" if ended.entry is None else str(ended.entry)
            run_at = "" if at_ms is None else at_ms
            arguments += (ended.job_id, ended.digest, ended.body or b"", run_at, entry, str(ended.listed))
        names = [queue, keys.wake(queue), keys.dead(queue), keys.dead_by_group(queue), keys.ended(queue)]
        answers: list[int] = await self._replay(keys=names, args=arguments)
        return answers

"""Holds what Redis has at the end against the ledger: every accepted job is in one state, and nothing else is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from arq.connections import ArqRedis
from arq.constants import job_key_prefix, result_key_prefix
from redis.asyncio import Redis
from redis.exceptions import RedisError

from errand.job.control import Crashed
from errand.monitor.job_snapshot import ENDS, JobSnapshot, Status, read_job
from errand.redis.connection import connect
from errand.wire import codec, keys, records
from tests.chaos.load.ledger import STEP_TYPES, Ledger, Request, Wish, mark_of
from tests.waiting import eventually

AT_ONCE = 500
QUEUES = (keys.queue(keys.DEFAULT_QUEUE), keys.queue("cpu"), keys.queue("mail"), keys.queue("webhooks"))
INTERRUPTED = frozenset({"lost", "crashed", "handed_back"})
"""Outcomes of attempts that did not come to an end of their own: their effect may have been."""
CLOCK_MS = 5
"""Server and workers round the same clock."""


@dataclass(frozen=True, slots=True)
class Ended:
    """One recorded attempt, as far as the accounts need it. Times are ms since the epoch."""

    number: int
    outcome: str
    pid: int
    started_at_ms: int
    ended_at_ms: int
    due_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One job as Redis has it."""

    id: str
    type: str
    status: Status
    attempts: tuple[Ended, ...]
    error: str
    result: Any
    mark: int | None
    """The number of the request that it came with."""
    args: Mapping[str, Any] = field(default_factory=dict)
    partition: int = 0
    """In which it is; one server is partition 0."""

    @property
    def path(self) -> str:
        """Which step it is of those that follow its root."""
        return str(self.args.get("path", ""))

    @property
    def root(self) -> str:
        """What all that follows one root has in common with it."""
        return str(self.args.get("mark", ""))

    @property
    def key(self) -> str:
        """What it shares with those that are limited together with it."""
        return str(self.args.get("customer", ""))

    @property
    def interrupted(self) -> int:
        return sum(attempt.outcome in INTERRUPTED for attempt in self.attempts)

    def inconsistencies(self) -> Iterator[str]:
        """What cannot be where only the owner of a lease has a say."""
        for one, other in pairwise(self.attempts):
            again = one.outcome == "handed_back" and other.number == one.number
            if other.number <= one.number and not again:
                yield f"attempt {other.number} follows attempt {one.number}"
            if other.started_at_ms < one.ended_at_ms - CLOCK_MS:
                yield f"attempt {other.number} began before attempt {one.number} had ended"
        successes = [attempt for attempt in self.attempts if attempt.outcome == "succeeded"]
        if len(successes) != (self.status == "succeeded") or successes not in ([], list(self.attempts[-1:])):
            yield f"is {self.status} with {len(successes)} successful attempts"


@dataclass
class Accounts:
    """What became of every accepted job, and of what got no answer."""

    wishes: Mapping[str, Wish]
    records: Mapping[str, Record]
    """Every job in Redis, by id."""
    requests: Sequence[Request]
    stale: int
    """Outcomes that were dropped because their lease was another's, as the workers counted them."""
    left_over: list[str] = field(default_factory=list)
    """Keys that an ended job should not have any more."""

    @property
    def states(self) -> Counter[str]:
        """How many accepted jobs are in which state; `pending` is all that have not ended."""
        found = (self.records[job_id].status for job_id in self.wishes if job_id in self.records)
        return Counter(status if status in ENDS else "pending" for status in found)

    @property
    def waiting_for_a_retry(self) -> int:
        """How many accepted jobs wait because an attempt failed: a webhook's second retry is 5 minutes later."""
        return sum(
            record.status == "deferred" and bool(record.attempts) and record.attempts[-1].outcome == "retry"
            for _, record in self.accepted_records
        )

    @property
    def lost(self) -> list[str]:
        return [job_id for job_id in self.wishes if job_id not in self.records]

    @property
    def accepted_records(self) -> Iterator[tuple[Wish, Record]]:
        return ((wish, self.records[job_id]) for job_id, wish in self.wishes.items() if job_id in self.records)

    def strangers(self) -> dict[str, Counter[str]]:
        """The jobs in Redis that got no 202, by why they may be there; each with its requests' numbers."""
        found: dict[str, Counter[str]] = {"unknown": Counter(), "refused": Counter(), "nobody's": Counter()}
        for record in self.records.values():
            if record.id not in self.wishes and record.type not in STEP_TYPES:
                found[self._excuse(record)][str(record.mark)] += 1
        return found

    def torn_batches(self) -> int:
        """Requests without a 202 of whose jobs some are there and some are not: all or none was promised."""
        strange = [record for record in self.records.values() if record.id not in self.wishes]
        there = Counter(record.mark for record in strange if record.type not in STEP_TYPES)
        return sum(0 < there[request.number] < len(request.jobs) for request in self.requests if request.status != 202)

    def not_as_wished(self) -> tuple[int, Counter[str]]:
        """Ends that nobody asked for: how many jobs were given up because their attempts kept ending with their
        process, and of the others `what was asked → what it is, error`."""
        wrong = [(wish, record) for wish, record in self.accepted_records if _ended_otherwise(wish, record)]
        others = Counter(
            f"{wish.end} → {record.status} {record.error}".strip()
            for wish, record in wrong
            if record.error != Crashed.__name__
        )
        return len(wrong) - others.total(), others

    def _excuse(self, record: Record) -> str:
        if record.mark is None or record.mark >= len(self.requests):
            return "nobody's"
        request = self.requests[record.mark]
        if request.unknown:
            return "unknown"
        return "refused" if request.status == 503 else "nobody's"


@dataclass
class Contents:
    """What one partition has."""

    records: dict[str, Record]
    left_over: list[str]
    stale: int


async def read(redis_url: str, ledger: Ledger, *, partitions: int = 1) -> Accounts:
    """Everything that is in Redis, straight from its keys."""
    found = [await _read(redis_url, partition) for partition in range(partitions)]
    records = {job_id: record for each in found for job_id, record in each.records.items()}
    left_over = [key for each in found for key in each.left_over]
    left_over += [f"{job_id} in two partitions" for job_id in _in_two([each.records for each in found])]
    return Accounts(ledger.accepted, records, ledger.requests, sum(each.stale for each in found), left_over)


def _in_two(found: Sequence[Mapping[str, Record]]) -> list[str]:
    counts = Counter(job_id for records in found for job_id in records)
    return [job_id for job_id, number in counts.items() if number > 1]


async def _read(redis_url: str, partition: int) -> Contents:
    redis = connect(redis_url, reply_timeout_s=30, partition=partition)
    try:
        ended = {job_id async for job_id in _ids(redis, result_key_prefix)}
        live = {job_id async for job_id in _ids(redis, job_key_prefix)}
        found = {record.id: record async for record in _ended_records(redis, sorted(ended))}
        for job_id in sorted(live - ended):
            if (job := await read_job(redis, job_id, queues=QUEUES)) is not None:
                found[job_id] = _record_of(job)
        records = {job_id: replace(record, partition=partition) for job_id, record in found.items()}
        left_over = [key async for key in _left_over(redis, live, ended, found)]
        return Contents(records, left_over, sum([await _stale(redis, queue) for queue in QUEUES]))
    finally:
        await redis.aclose()


async def _left_over(
    redis: ArqRedis, live: Set[str], ended: Set[str], found: Mapping[str, Record]
) -> AsyncIterator[str]:
    """Keys that an ended job should not have any more."""
    for job_id in live & ended:
        yield keys.body(job_id)
    async for key, job_id in _keys_of_jobs(redis):
        if job_id not in live:
            yield key
    for key_of in (keys.once, keys.needs):
        async for job_id in _ids(redis, key_of("")):
            if job_id in found and found[job_id].status == "succeeded":
                yield key_of(job_id)
    for queue in QUEUES:
        for name in await redis.smembers(keys.needed(queue)):  # type: ignore[misc]
            yield f"{keys.needed(queue)} {name.decode()}"
        async for key in _keys_of_limits(redis, queue):
            yield key


async def runs_empty(partitions: Sequence[Redis], *, due_within_s: float, limit_s: float) -> bool:
    """Waits until no job runs or is due within that time; False where that does not come within the limit."""

    async def empty() -> bool:
        try:
            seconds, _ = await partitions[0].time()
            soon_ms = (seconds + due_within_s) * 1000
            return not sum([await redis.zcount(queue, "-inf", soon_ms) for redis in partitions for queue in QUEUES])
        except RedisError:  # a busy machine
            return False

    try:
        return await eventually(empty, timeout_s=limit_s)
    except TimeoutError:
        return False


async def _stale(redis: ArqRedis, queue: str) -> int:
    (counted,) = await redis.hmget(keys.counters(queue), ["stale"])  # type: ignore[misc]  # redis-py: async or not
    return int(counted or 0)


async def _ids(redis: ArqRedis, prefix: str) -> AsyncIterator[str]:
    async for name in redis.scan_iter(match=f"{prefix}*", count=5_000):
        yield name.decode().removeprefix(prefix)


async def _keys_of_jobs(redis: ArqRedis) -> AsyncIterator[tuple[str, str]]:
    """Each key, or field or member of one, that a job has until it ends; and the id of the job."""
    for prefix in (keys.attempts(""), keys.lease(""), keys.tries(""), keys.progress("")):
        async for job_id in _ids(redis, prefix):
            yield prefix + job_id, job_id
    for queue in QUEUES:
        for hash_name in (keys.running(queue), keys.cancels(queue)):
            async for job_id, _ in redis.hscan_iter(hash_name):
                yield f"{hash_name} {job_id.decode()}", job_id.decode()
        async for job_id, _ in redis.zscan_iter(queue):
            yield f"{queue} {job_id.decode()}", job_id.decode()


async def _keys_of_limits(redis: ArqRedis, queue: str) -> AsyncIterator[str]:
    """Slots and lines, which are free and empty when nothing runs and nothing waits."""
    for pattern in (keys.limit_slots(queue, "*"), keys.limit_line(queue, "*"), keys.held_slots(queue)):
        async for name in redis.scan_iter(match=pattern, count=5_000):
            yield name.decode()


async def _ended_records(redis: ArqRedis, ids: Sequence[str]) -> AsyncIterator[Record]:
    for start in range(0, len(ids), AT_ONCE):
        group = ids[start : start + AT_ONCE]
        for job_id, raw in zip(group, await redis.mget([keys.result(job_id) for job_id in group]), strict=True):
            if raw is not None:
                yield _ended_record(job_id, codec.loads(raw))


def _ended_record(job_id: str, fields: Mapping[str, Any]) -> Record:
    failure = None if fields["s"] else fields["r"]
    return Record(
        id=job_id,
        type=fields["f"],
        status=_end_of(failure),
        attempts=tuple(map(_ended, fields.get("attempts", []))),
        error=failure.error.type if failure is not None else "",
        result=fields["r"] if failure is None else None,
        mark=mark_of(fields["f"], fields["k"]),
        args=fields["k"],
    )


def _ended(attempt: Mapping[str, Any]) -> Ended:
    return Ended(
        number=attempt["number"],
        outcome=attempt["outcome"],
        pid=pid_of(attempt["worker"]),
        started_at_ms=attempt["started_at_ms"],
        ended_at_ms=attempt["ended_at_ms"],
        due_at_ms=attempt["due_at_ms"],
    )


def _end_of(failure: Any) -> Status:
    if failure is None:
        return "succeeded"
    cancelled = isinstance(failure, records.JobCancelled) or failure.cancelled
    return "cancelled" if cancelled else "failed"


def _record_of(job: JobSnapshot) -> Record:
    attempts = tuple(_ended(asdict(attempt)) for attempt in job.attempts)
    return Record(job.id, job.type, job.status, attempts, "", None, mark_of(job.type, job.args), job.args)


def pid_of(worker: str) -> int:
    """From a worker's name: `host:pid:random`."""
    return int(worker.split(":")[-2])


def _ended_otherwise(wish: Wish, record: Record) -> bool:
    return record.status in ENDS and wish.end not in ("any", record.status)

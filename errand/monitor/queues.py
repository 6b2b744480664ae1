"""Reads the state of queues and workers: how many jobs wait, since when, which worker runs which.

The cost does not grow with the jobs that wait. If the jobs are in several partitions, all are asked at once, and what
they answer is added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from arq.connections import ArqRedis
from arq.constants import default_queue_name as DEFAULT  # noqa: N812

from errand.monitor.job_snapshot import number_in
from errand.redis.cluster.each import of_each
from errand.redis.rows import rows_of
from errand.redis.sentinel import answers_in_turn
from errand.wire import keys
from errand.wire.limits import shown_ms
from errand.wire.running import running_attempt
from errand.wire.worker_report import WorkerReport, alive_between_ms

LAST_MINUTES = 15
"""So many are shown, this one included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One queue as it is now."""

    name: str
    paused: bool
    """In one partition at least: a pause that has not reached all of them is shown, so that somebody ends it."""
    due: int
    """Jobs that could run now. Scale workers by this number."""
    deferred: int
    """Jobs due later: as was asked, or since they wait for their next attempt."""
    in_progress: int
    dead: int
    """Entries of dead jobs; some may be of jobs that have expired."""
    oldest_due_ms: int | None
    """For how long the first of the due jobs has been waiting."""
    workers: int
    """How many live workers serve it; of partitions, as many as serve the one that has most: a process serves all."""
    slots: int
    """How many jobs these run at once."""
    loop_lag_ms: float | None
    """How late the event loop of one of them was at most, as their last heartbeats report; None if none reports it."""
    counters: Mapping[str, int]
    """Since the queue exists: `attempts:<outcome>`, `wait_ms:<bound>`, `run_ms:<bound>`, `stale`; see counters.py."""
    last_minutes: Mapping[int, Mapping[str, int]]
    """When a minute began, in ms since the epoch → how many attempts ended in it, by outcome; the latest first."""


@dataclass(slots=True)
class WorkerState:
    """One worker process. Times are ms since the epoch."""

    host: str
    pid: int
    last_heartbeat_ms: int
    queues: list[str] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    """Job id → when its attempt began."""
    version: str | None = None
    slots: int = 0
    loop_lag_ms: float | None = None
    draining: bool = False
    types: set[str] | None = None
    """The job types and functions that it knows; None if it does not say."""

    def add(self, report: WorkerReport) -> None:
        """Adds the report of one of its workers: it has one for each queue and partition, all on one event loop."""
        self.version = report.version or self.version
        self.slots += report.slots
        self.loop_lag_ms = _worst([self.loop_lag_ms, report.loop_lag_ms])
        self.draining = self.draining or report.draining
        if report.types is not None:
            self.types = (self.types or set()).union(report.types)


class _QueueAnswers(NamedTuple):
    """Redis' answers for one queue, in the order of the calls in `read_queues`."""

    paused: int
    due: int
    all: int
    running: int
    first: Sequence[tuple[bytes, float]]
    heartbeats: Sequence[tuple[bytes, float]]
    reports: Mapping[bytes, bytes]
    counters: Mapping[bytes, bytes]
    dead: int
    minutes: Mapping[bytes, bytes]


async def read_queues(clients: Sequence[ArqRedis], names: Sequence[str], *, silent_s: float) -> list[QueueState]:
    """The queues of those names in one round trip; a worker silent for `silent_s` seconds does not count."""
    of_parts = await of_each(clients, lambda redis: _read_queues(redis, names, silent_s=silent_s))
    return [_added(states) for states in zip(*of_parts, strict=True)]


async def _read_queues(redis: ArqRedis, names: Sequence[str], *, silent_s: float) -> list[QueueState]:
    """These queues, as far as one Redis has them."""
    now_ms = await _now_ms(redis)
    alive = alive_between_ms(now_ms, silent_s=silent_s)
    async with redis.pipeline(transaction=False) as pipeline:
        for queue in map(keys.queue, names):
            pipeline.exists(keys.paused(queue))
            pipeline.zcount(queue, "-inf", now_ms)
            pipeline.zcard(queue)
            pipeline.hlen(keys.running(queue))
            pipeline.zrange(queue, 0, 0, withscores=True)
            pipeline.zrangebyscore(keys.workers(queue), *alive, withscores=True)
            pipeline.hgetall(keys.reports(queue))
            pipeline.hgetall(keys.counters(queue))
            pipeline.zcard(keys.dead(queue))
            pipeline.hgetall(keys.minutes(queue))
        answers = await pipeline.execute()
    rows = zip(names, rows_of(answers, len(_QueueAnswers._fields)), strict=True)
    return [_queue_state(name, _QueueAnswers(*row), now_ms=now_ms) for name, row in rows]


def _added(states: Sequence[QueueState]) -> QueueState:
    """One queue, from its parts."""
    first, *others = states
    if not others:
        return first
    return replace(
        first,
        paused=any(state.paused for state in states),
        due=sum(state.due for state in states),
        deferred=sum(state.deferred for state in states),
        in_progress=sum(state.in_progress for state in states),
        dead=sum(state.dead for state in states),
        oldest_due_ms=max((state.oldest_due_ms for state in states if state.oldest_due_ms is not None), default=None),
        workers=max(state.workers for state in states),
        slots=sum(state.slots for state in states),
        loop_lag_ms=_worst(state.loop_lag_ms for state in states),
        counters=_summed(state.counters for state in states),
        last_minutes=_minutes_added(states),
    )


def _minutes_added(states: Sequence[QueueState]) -> dict[int, Mapping[str, int]]:
    minutes = {at_ms for state in states for at_ms in state.last_minutes}
    return {
        at_ms: _summed(state.last_minutes.get(at_ms, {}) for state in states) for at_ms in sorted(minutes, reverse=True)
    }


def _summed(counters: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total = Counter[str]()
    for each in counters:
        total.update(each)
    return total


async def read_workers(clients: Sequence[ArqRedis], names: Sequence[str], *, silent_s: float) -> list[WorkerState]:
    """The live worker processes of those queues, and the jobs that they run."""
    of_parts = await of_each(clients, lambda redis: _read_reports(redis, names, silent_s=silent_s))
    processes: dict[str, WorkerState] = {}
    for of_part in of_parts:
        for name, heartbeats, reports, running in of_part:
            _add_queue(processes, name, heartbeats, reports)
            _add_running(processes, running)
    return sorted(processes.values(), key=lambda state: (state.host, state.pid))


async def _read_reports(
    redis: ArqRedis, names: Sequence[str], *, silent_s: float
) -> list[tuple[str, Sequence[tuple[bytes, float]], Mapping[bytes, bytes], Mapping[bytes, bytes]]]:
    """Of each queue, as far as one Redis has it: its name, the heartbeats and reports of its workers, what they run."""
    alive = alive_between_ms(await _now_ms(redis), silent_s=silent_s)
    async with redis.pipeline(transaction=False) as pipeline:
        for queue in map(keys.queue, names):
            pipeline.zrangebyscore(keys.workers(queue), *alive, withscores=True)
            pipeline.hgetall(keys.reports(queue))
            pipeline.hgetall(keys.running(queue))
        answers = await pipeline.execute()
    return [(name, *row) for name, row in zip(names, rows_of(answers, 3), strict=True)]


def _add_queue(
    processes: dict[str, WorkerState],
    name: str,
    heartbeats: Sequence[tuple[bytes, float]],
    reports: Mapping[bytes, bytes],
) -> None:
    """Adds the workers of a queue to the processes that they are of."""
    for worker, at_ms in heartbeats:
        state = _process_of(processes, worker.decode(errors="replace"))
        if name not in state.queues:
            state.queues.append(name)
        state.add(WorkerReport.read(reports.get(worker)))
        state.last_heartbeat_ms = max(state.last_heartbeat_ms, shown_ms(at_ms))


def _add_running(processes: dict[str, WorkerState], running: Mapping[bytes, bytes]) -> None:
    for job_id, started in running.items():
        attempt = running_attempt(started)
        if attempt and (state := processes.get(attempt.worker.rsplit(":", 1)[0])) is not None:
            state.running[job_id.decode(errors="replace")] = attempt.started_at_ms


async def _now_ms(redis: ArqRedis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def _queue_state(name: str, answers: _QueueAnswers, *, now_ms: int) -> QueueState:
    live = [WorkerReport.read(answers.reports.get(worker)) for worker, _ in answers.heartbeats]
    due_since_ms = [shown_ms(score) for _, score in answers.first if score <= now_ms]
    return QueueState(
        name=name,
        paused=bool(answers.paused),
        due=answers.due,
        # a running job is in the queue as well, at the end of its lease
        deferred=max(answers.all - answers.due - answers.running, 0),
        in_progress=answers.running,
        dead=answers.dead,
        oldest_due_ms=now_ms - due_since_ms[0] if due_since_ms else None,
        workers=len(live),
        slots=sum(report.slots for report in live),
        loop_lag_ms=_worst([report.loop_lag_ms for report in live]),
        counters={name.decode(errors="replace"): number_in(value) for name, value in answers.counters.items()},
        last_minutes=_last_minutes(answers.minutes, now_ms=now_ms),
    )


def _last_minutes(counted: Mapping[bytes, bytes], *, now_ms: int) -> dict[int, dict[str, int]]:
    """Without older ones, which workers leave there while they are few: a queue that ends a job an hour has a day."""
    minutes: dict[int, dict[str, int]] = {}
    first = now_ms // 60_000 - LAST_MINUTES + 1
    for field_name, number in sorted(counted.items(), reverse=True):
        minute, _, outcome = field_name.partition(b" ")
        if minute.isdigit() and outcome and number_in(minute) >= first:
            of_minute = minutes.setdefault(shown_ms(number_in(minute) * 60_000), {})
            of_minute[outcome.decode(errors="replace")] = number_in(number)
    return minutes


def _worst(lags_ms: Iterable[float | None]) -> float | None:
    return max((lag_ms for lag_ms in lags_ms if lag_ms is not None), default=None)


def _process_of(processes: dict[str, WorkerState], worker: str) -> WorkerState:
    """The process of a worker, which is named `host:pid:random`; a process has a worker for each queue."""
    process = worker.rsplit(":", 1)[0]
    host, _, pid = process.rpartition(":")
    return processes.setdefault(process, WorkerState(host, number_in(pid.encode()), 0))


async def live_workers(redis: ArqRedis, *, queues: Sequence[str] = (DEFAULT,), silent_s: float) -> list[int]:
    """How many workers of each queue have sent a heartbeat in the last `silent_s` seconds, by the server's clock."""
    alive = alive_between_ms(await _now_ms(redis), silent_s=silent_s)
    async with redis.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.zcount(keys.workers(queue), *alive)
        counts: list[int] = await pipeline.execute()
    return counts


async def is_served(clients: Sequence[ArqRedis], *, queues: Sequence[str], silent_s: float) -> bool:
    """True if a worker of one of these queues (their keys) lives, in one partition at least.

    A partition that is away, or slow, does not stop the jobs of the others. Raises redis' errors if all are away.
    """
    errors: list[BaseException] = []
    looks = answers_in_turn(clients, lambda redis: live_workers(redis, queues=queues, silent_s=silent_s))
    async with aclosing(looks):
        async for _, answer in looks:
            if isinstance(answer, BaseException):
                errors.append(answer)
            elif any(answer):
                return True
    if len(errors) == len(clients):
        raise errors[0]
    return False

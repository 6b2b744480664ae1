"""How queues and workers stand: depths, ages, who runs what. Reads of a bounded size, none of them per job waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from arq.connections import ArqRedis

from jobs.engine import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One queue as it is now."""

    name: str
    paused: bool
    due: int
    """Jobs that could run now: what to scale workers by."""
    deferred: int
    """Due later: by request, or waiting for their next attempt."""
    in_progress: int
    dead: int
    """Entries of dead jobs; of those that have expired some may still be among them."""
    oldest_due_ms: int | None
    """How long the first of the due jobs has been waiting, ms."""
    workers: int
    """Live ones that serve it."""
    counters: Mapping[str, int]
    """Since the queue exists: `attempts:<outcome>`, `wait_ms:<bound>`, `run_ms:<bound>`, `stale`; see counters.py."""


@dataclass(slots=True)
class WorkerState:
    """One worker process. Times are ms since the epoch."""

    host: str
    pid: int
    last_heartbeat_ms: int
    queues: list[str] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    """Job id → when its attempt began."""


async def read_queues(redis: ArqRedis, names: Sequence[str], *, silent_s: float) -> list[QueueState]:
    """The queues of those names in one round trip; a worker silent for `silent_s` seconds does not count."""
    now_ms = await _now_ms(redis)
    async with redis.pipeline(transaction=False) as pipeline:
        for queue in map(keys.queue, names):
            pipeline.exists(keys.paused(queue))
            pipeline.zcount(queue, "-inf", now_ms)
            pipeline.zcard(queue)
            pipeline.hlen(keys.running(queue))
            pipeline.zrange(queue, 0, 0, withscores=True)
            pipeline.zcount(keys.workers(queue), now_ms - int(silent_s * 1000), "+inf")
            pipeline.hgetall(keys.counters(queue))
            pipeline.zcard(keys.dead(queue))
        answers = await pipeline.execute()
    return [_queue_state(name, now_ms, *answers[index * 8 : index * 8 + 8]) for index, name in enumerate(names)]


async def read_workers(redis: ArqRedis, names: Sequence[str], *, silent_s: float) -> list[WorkerState]:
    """The live workers of those queues, and what they run."""
    now_ms = await _now_ms(redis)
    async with redis.pipeline(transaction=False) as pipeline:
        for queue in map(keys.queue, names):
            pipeline.zrangebyscore(keys.workers(queue), now_ms - int(silent_s * 1000), "+inf", withscores=True)
            pipeline.hgetall(keys.running(queue))
        answers = await pipeline.execute()
    processes: dict[str, WorkerState] = {}
    for index, name in enumerate(names):
        heartbeats, running = answers[index * 2 : index * 2 + 2]
        for worker, at_ms in heartbeats:
            state = _process_of(processes, worker.decode())
            state.queues.append(name)
            state.last_heartbeat_ms = max(state.last_heartbeat_ms, int(at_ms))
        for job_id, begun in running.items():
            _, _, started_ms, token = begun.decode().split(" ", 3)
            if (state_of := processes.get(token.rsplit(":", 1)[0])) is not None:
                state_of.running[job_id.decode(errors="replace")] = int(started_ms)
    return sorted(processes.values(), key=lambda state: (state.host, state.pid))


async def _now_ms(redis: ArqRedis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def _queue_state(
    name: str,
    now_ms: int,
    paused: int,
    due: int,
    waiting: int,
    running: int,
    first: Sequence[tuple[bytes, float]],
    workers: int,
    counters: Mapping[bytes, bytes],
    dead: int,
) -> QueueState:
    due_since_ms = [int(score) for _, score in first if score <= now_ms]
    return QueueState(
        name=name,
        paused=bool(paused),
        due=due,
        # a running job is in the queue as well, at the end of its lease
        deferred=max(waiting - due - running, 0),
        in_progress=running,
        dead=dead,
        oldest_due_ms=now_ms - due_since_ms[0] if due_since_ms else None,
        workers=workers,
        counters={counter.decode(): int(value) for counter, value in counters.items()},
    )


def _process_of(processes: dict[str, WorkerState], worker: str) -> WorkerState:
    """A process has a worker for each queue, named `host:pid:random`."""
    process = worker.rsplit(":", 1)[0]
    host, _, pid = process.rpartition(":")
    return processes.setdefault(process, WorkerState(host, int(pid) if pid.isdigit() else 0, 0))

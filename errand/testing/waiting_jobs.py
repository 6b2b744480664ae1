"""What a test reads of the jobs in its Redis, and how it moves their time: without an event loop, for every test.

The server is the test's own and holds little, so that here, and nowhere else, keys are searched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from redis import Redis

from errand.wire import codec, keys
from errand.wire.flow import HELD_MS
from errand.wire.limits import EXPIRES_AT


class SeenJob(NamedTuple):
    """A job that was put. It equals a pair of its type's name and its args, as the queue keeps them.

    >>> assert jobs.added == [("welcome_email", {"to": "ada@example.com"})]
    """

    type: str
    args: Mapping[str, Any]


class WaitingJobs:
    """The jobs of one server."""

    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(url)

    def close(self) -> None:
        self._redis.close()

    def clear(self) -> None:
        """Forgets everything in this database: a server of the user's own may have others."""
        self._redis.flushdb()

    def added(self) -> list[SeenJob]:
        """Every job that was put, ended ones too, in the order in which they were put; by their ids within a ms."""
        records = {**self._records(keys.result("")), **self._records(keys.body(""))}
        in_order = sorted(records.items(), key=lambda each: (each[1]["et"], each[0]))
        return [SeenJob(record["f"], record["k"]) for _, record in in_order]

    def queues(self) -> list[str]:
        """The names of the queues that have jobs which have not ended."""
        found = cast(list[bytes], self._redis.keys(f"{keys.queue(keys.DEFAULT_QUEUE)}*"))
        return sorted(keys.queue_name(key.decode()) for key in found if self._redis.type(key) == b"zset")

    def waiting(self, queue: str) -> dict[str, float]:
        """The ids of a queue's jobs that have not ended, and when each is due, in ms since the epoch."""
        found = cast(list[tuple[bytes, float]], self._redis.zrange(keys.queue(queue), 0, -1, withscores=True))
        return {job_id.decode(): due_ms for job_id, due_ms in found}

    def type_of(self, job_id: str) -> str:
        """The type of a job that has not ended."""
        body = cast(bytes | None, self._redis.get(keys.body(job_id)))
        return codec.job_in(body)[0].function if body else codec.UNKNOWN

    def holds_lease(self, job_id: str) -> bool:
        """True if an attempt has it, or had it when it died."""
        return bool(self._redis.exists(keys.lease(job_id)))

    def tried(self, queue: str) -> list[str]:
        """Those that have had an attempt and wait for their next one."""
        return [job_id for job_id in self.waiting(queue) if self._redis.exists(keys.attempts(job_id))]

    def make_due(self, queue: str, job_ids: Iterable[str]) -> None:
        """Makes these due now, as if their wait was over; a lease on one of them has lapsed."""
        for job_id in job_ids:
            self._redis.delete(keys.lease(job_id))
            self._redis.zadd(keys.queue(queue), {job_id: self.now_ms()}, xx=True)

    def now_ms(self) -> int:
        """By the server's clock."""
        seconds, micros = cast(tuple[int, int], self._redis.time())
        return seconds * 1000 + micros // 1000

    def move_time(self, by_ms: int) -> None:
        """Makes all that Redis keeps so much older: what is due later, or expires, does so sooner."""
        for queue in self.queues():
            for job_id, due_ms in self.waiting(queue).items():
                if due_ms == HELD_MS:
                    continue
                self._redis.zincrby(keys.queue(queue), -by_ms, job_id)
                self._move_expiry(job_id, by_ms)
        self._move_limits(by_ms)
        self._move_waits(by_ms)
        for key in cast(list[bytes], self._redis.keys("*")):
            left_ms = cast(int, self._redis.pttl(key))
            if left_ms > 0:
                self._redis.pexpire(key, max(left_ms - by_ms, 0))

    def _move_limits(self, by_ms: int) -> None:
        """When to look at the lines behind limits and at jobs with a priority; when others have started."""
        for pattern in (f"{keys.limit_lines('*', '')}*", f"{keys.lane('*', 0)[:-1]}*"):
            for key in self._names(pattern):
                for name in cast(list[bytes], self._redis.zrange(key, 0, -1)):
                    self._redis.zincrby(key, -by_ms, name)
        for key in self._names(keys.limit_starts("*", "*")):
            for at, started_ms in enumerate(cast(list[bytes], self._redis.lrange(key, 0, -1))):
                self._redis.lset(key, at, str(int(started_ms) - by_ms))

    def _move_waits(self, by_ms: int) -> None:
        """When jobs are to be due that wait for others."""
        for key in self._names(keys.needs("*")):
            if self._redis.hget(key, "run_at_ms"):
                self._redis.hincrby(key, "run_at_ms", -by_ms)

    def _names(self, pattern: str) -> list[str]:
        return [key.decode() for key in cast(list[bytes], self._redis.keys(pattern))]

    def _move_expiry(self, job_id: str, by_ms: int) -> None:
        body = cast(bytes | None, self._redis.get(keys.body(job_id)))
        record = codec.readable_or_empty(body) if body else {}
        if EXPIRES_AT in record:
            self._redis.set(keys.body(job_id), codec.dumps({**record, EXPIRES_AT: record[EXPIRES_AT] - by_ms}))

    def _records(self, prefix: str) -> dict[str, dict[str, Any]]:
        return dict(self._read(prefix))

    def _read(self, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for key in cast(list[bytes], self._redis.keys(f"{prefix}*")):
            record = cast(bytes | None, self._redis.get(key))
            if record is not None:
                yield key.decode().removeprefix(prefix), codec.loads(record)

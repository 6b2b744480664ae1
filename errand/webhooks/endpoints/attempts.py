"""The latest attempts to deliver to an endpoint, as its owner searches them: what was answered, or what went wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from pydantic_core import from_json
from redis.asyncio import Redis

from errand.redis import script
from errand.webhooks.endpoints.definition import takes
from errand.webhooks.endpoints.soon import Soon
from errand.wire import keys

KEEP_S = 30 * 86_400
"""How long those of an endpoint are kept after the last one."""
MAX_PENDING = 10_000
"""How many wait to be written; if Redis is away for long the oldest are lost."""
WRITTEN_AT_ONCE = 200
MEAN_BYTES = 4 * 1024
"""Of those of an endpoint, in Redis: fewer are kept if they are larger. Who has an endpoint decides how much it
answers: with a thousand answers of 16 KiB for each of fifty a tenant took 1.2 GB."""
READ_AT_ONCE, MAX_READ = 200, 10_000
"""How many are read in one call, and looked at for one page: a filter may fit none of them."""
MAX_READ_FOR_JOB = 1_000
"""Of the latest ones, in which those of one job are looked for."""


Outcome = Literal["delivered", "failed"]


class EndpointAttempt(BaseModel):
    """One attempt."""

    at_ms: int
    """When it ended, by the worker's clock."""
    job_id: str
    number: int
    webhook_id: str
    event: str
    status: int | None
    """Of the answer; None if there was none."""
    fault: str | None
    """The kind of the fault: `dns`, `timeout`, …; `status` for an answer that is no success; None if it was taken."""
    error: str | None
    remote: str
    timings_ms: dict[str, float]
    headers: list[tuple[str, str]]
    body: str
    """Headers and body of the answer, as far as they are kept, without the endpoint's secrets."""
    request_headers: list[tuple[str, str]] = []
    """Those that the delivery sent, the signature among them, likewise; kept if it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFilter:
    """Which attempts: all that fit what is not None. Times are ms since the epoch."""

    event: str | None = None
    """May hold `*`, as the filters of an endpoint."""
    outcome: Outcome | None = None
    status: int | None = None
    fault: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, attempt: EndpointAttempt) -> bool:
        """True if it fits, its time aside."""
        return (
            (self.event is None or takes((self.event,), attempt.event))
            and (self.outcome is None or (self.outcome == "delivered") == (attempt.fault is None))
            and (self.status is None or self.status == attempt.status)
            and (self.fault is None or self.fault == attempt.fault)
        )


class EndpointAttempts:
    """Those that Redis keeps: `limit` of each endpoint at most, none if it is 0."""

    def __init__(self, redis: Redis, *, limit: int) -> None:
        self._redis = redis
        self._limit = limit
        self._append = script.load(redis, "webhooks/endpoints/append")
        self._pending: deque[tuple[str, bytes]] = deque(maxlen=MAX_PENDING)
        self._soon = Soon(self._write)

    def add(self, endpoint_id: str, attempt: bytes) -> None:
        """Keeps an attempt, soon: the JSON of an `EndpointAttempt`."""
        if self._limit:
            self._pending.append((endpoint_id, attempt))
            self._soon.ask()

    async def close(self) -> None:
        """Writes what is still to be written."""
        await self._soon.close()

    async def page(
        self, endpoint_id: str, filter: AttemptFilter, *, limit: int, before: str | None = None
    ) -> tuple[list[EndpointAttempt], str | None]:
        """The latest first, and where the next page starts; None if there is none. `before` is that of the page before.

        Raises redis' ResponseError for a `before` that came from no page.
        """
        found: list[EndpointAttempt] = []
        end = f"({before}" if before else "+" if filter.until_ms is None else f"({filter.until_ms}-0"
        start = "-" if filter.since_ms is None else str(filter.since_ms)
        for _ in range(MAX_READ // READ_AT_ONCE):
            entries: Sequence[tuple[bytes, dict[bytes, bytes]]] = await self._redis.xrevrange(
                keys.webhook_attempts(endpoint_id), end, start, count=READ_AT_ONCE
            )
            for name, fields in entries:
                end = f"({name.decode()}"
                attempt = _attempt(fields)
                if attempt is not None and filter.takes(attempt):
                    found.append(attempt)
                if len(found) == limit:
                    return found, end[1:]
            if len(entries) < READ_AT_ONCE:
                return found, None
        return found, end[1:]

    async def of_job(self, endpoint_id: str, job_id: str, *, most: int) -> list[EndpointAttempt]:
        """Up to so many attempts of one delivery, the latest first, if they are among the endpoint's latest."""
        found: list[EndpointAttempt] = []
        end = "+"
        for _ in range(MAX_READ_FOR_JOB // READ_AT_ONCE):
            entries: Sequence[tuple[bytes, dict[bytes, bytes]]] = await self._redis.xrevrange(
                keys.webhook_attempts(endpoint_id), end, "-", count=READ_AT_ONCE
            )
            # most are of other jobs: they are not worth a model
            read = [fields for _, fields in entries if job_id.encode() in fields.get(b"attempt", b"")]
            attempts = map(_attempt, read)
            found += [attempt for attempt in attempts if attempt is not None and attempt.job_id == job_id]
            if len(found) >= most or len(entries) < READ_AT_ONCE:
                break
            end = f"({entries[-1][0].decode()}"
        return found[:most]

    async def _write(self) -> None:
        """By a script: a command for each of them would cost the worker half as much as to post it."""
        pending, self._pending = self._pending, deque(maxlen=MAX_PENDING)
        while pending:
            some = [pending.popleft() for _ in range(min(WRITTEN_AT_ONCE, len(pending)))]
            streams = {endpoint_id: number for number, endpoint_id in enumerate(dict(some), start=1)}
            named = [part for endpoint_id, attempt in some for part in (streams[endpoint_id], attempt)]
            await self._append(
                keys=[keys.webhook_attempts(endpoint_id) for endpoint_id in streams],
                args=[self._limit, KEEP_S * 1000, self._limit * MEAN_BYTES, *named],
            )


def _attempt(fields: dict[bytes, bytes]) -> EndpointAttempt | None:
    """None for an entry that another program has written."""
    try:
        return EndpointAttempt.model_validate(from_json(fields.get(b"attempt", b"")))
    except ValueError:
        return None

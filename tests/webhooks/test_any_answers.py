"""Whatever a receiver answers: the attempts follow the schedule, the `webhook-id` never changes, the end is right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Literal

import pytest
import standardwebhooks
from arq.connections import ArqRedis
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.process.worker import opened
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.endpoints import Endpoint, EndpointDefinition, Endpoints
from errand.webhooks.schedule import SCHEDULE_S
from errand.webhooks.secret import new_secret
from errand.wire import keys
from jobs.webhook import webhook
from tests.conftest import make_settings, running_worker
from tests.waiting import NEVER_S, eventually
from tests.webhooks.post.hostile import read_request, serving

QUEUES = [keys.queue(WEBHOOK_QUEUE)]
DAY_S = 86_400.0
JITTER = 0.1
DATA = {"id": 2**70, "name": "Žofie"}

Fault = Literal["close", "reset", "garbage", "half a line"]


@dataclass(frozen=True)
class Answer:
    """What a receiver does with one request."""

    status: int = 0
    fault: Fault | None = None
    retry_after: str | None = None
    asked_s: tuple[float, float] = (0.0, 0.0)
    """The wait that `Retry-After` asks for, from and to."""

    def sent(self) -> bytes:
        """The bytes of it."""
        match self.fault:
            case "garbage":
                return b"220 mail.example ESMTP\r\n"
            case "half a line":
                return b"HTTP/1.1 20"
            case "close" | "reset":
                return b""
        asked = f"Retry-After: {self.retry_after}\r\n" if self.retry_after is not None else ""
        length = "" if self.status in (204, 304) else "Content-Length: 2\r\n"
        return f"HTTP/1.1 {self.status} Said\r\n{asked}{length}\r\n{'no' if length else ''}".encode()


LATE_S = 60.0
"""A date has whole seconds, and is read some time after it was written."""


def _bounded(low_s: float, high_s: float) -> tuple[float, float]:
    return min(max(low_s, 0.0), DAY_S), min(max(high_s, 0.0), DAY_S)


@st.composite
def refusals(draw: st.DrawFn) -> Answer:
    """A status with any `Retry-After`."""
    status = draw(st.sampled_from([429, 503, 301, 404, 500]) | st.integers(300, 599).filter(lambda one: one != 410))
    kind = draw(st.sampled_from(["none", "seconds", "date", "junk"]))
    if kind == "seconds":
        seconds = draw(st.integers(0, 200_000) | st.sampled_from([10**12, 10**40]))
        asked_s = min(float(seconds), DAY_S)
        return Answer(status, retry_after=str(seconds), asked_s=(asked_s, asked_s))
    if kind == "date":
        ahead_s = draw(st.integers(-86_400, 2 * 86_400))
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_s), usegmt=True)
        return Answer(status, retry_after=at, asked_s=_bounded(ahead_s - LATE_S, ahead_s + 1.0))
    if kind == "junk":
        return Answer(status, retry_after=draw(st.sampled_from(["", "soon", "-5", "1.5", "5 5", "٣", "Mon, 99 Xyz"])))
    return Answer(status)


FAULTS = st.sampled_from([Answer(fault=fault) for fault in ("close", "reset", "garbage", "half a line")])
ENDS = st.integers(200, 299).map(Answer) | st.just(Answer(410))
SCRIPTS = st.tuples(st.lists(refusals() | FAULTS, max_size=len(SCHEDULE_S) + 1), ENDS).map(
    lambda parts: [*parts[0], parts[1]]
)
OWN_SCHEDULES = st.none() | st.lists(st.floats(1, 7 * DAY_S), max_size=4)
"""None: a URL, with the schedule of all. Else that of an endpoint, too short for its circuit breaker to open."""


@dataclass
class Scripted:
    """Answers each path by a script of its own, then with 204."""

    scripts: dict[str, list[Answer]] = field(default_factory=dict)
    requests: dict[str, list[tuple[dict[str, str], bytes]]] = field(default_factory=dict)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = True
        while True:
            head, _, body = (await read_request(reader)).partition(b"\r\n\r\n")
            line, *fields = head.decode().split("\r\n")
            path = line.split(" ")[1]
            headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in fields)}
            self.requests.setdefault(path, []).append((headers, body))
            script = self.scripts[path]
            answer = script[0] if script else Answer(204)
            if script and (first or answer.fault not in ("close", "reset")):
                # one that was kept may die at any time: the same attempt goes on with another
                script.pop(0)
            first = False
            writer.write(answer.sent())
            await writer.drain()
            if answer.fault == "reset":
                writer.transport.abort()
            if answer.fault is not None:
                return


@dataclass(kw_only=True)
class House:
    """A worker that runs, and a receiver."""

    redis: ArqRedis
    queue: Queue
    endpoints: Endpoints
    receiver: Scripted
    url: str
    secret: str
    count: int = 0

    async def delivered(self, script: Sequence[Answer], own_s: Sequence[float] | None) -> None:
        """One delivery, from its enqueue to its end, each step checked."""
        self.count += 1
        path = f"/{self.count}"
        self.receiver.scripts[path] = list(script)
        job_id = await self._put(path, own_s)
        schedule_s = SCHEDULE_S if own_s is None else own_s
        for number, answer in enumerate(script, start=1):
            job = await self._attempted(job_id, number)
            ends = _end_of(answer, number, schedule_s)
            assert job.status == (ends or "deferred"), (number, answer)
            if ends:
                break
            attempt = job.attempts[-1]
            low_s, high_s = _wait_s(answer, schedule_s[number - 1])
            waited_s = ((attempt.next_attempt_at_ms or 0) - attempt.ended_at_ms) / 1000
            assert low_s - 0.01 <= waited_s <= high_s + 0.5, (number, answer, waited_s)
            await self.redis.zadd(QUEUES[0], {job_id: 1}, xx=True)
        assert [attempt.number for attempt in job.attempts] == list(range(1, number + 1))
        self._check_requests(path, at_least=number)

    async def _put(self, path: str, own_s: Sequence[float] | None) -> str:
        args = {"event": "a.b", "data": DATA}
        if own_s is None:
            return (await self.queue.enqueue("webhook", {"url": self.url + path, **args})).job_id
        definition = EndpointDefinition.model_validate({"url": self.url + path, "retry_s": own_s})
        name = f"endpoint-{self.count}"
        await self.endpoints.put(Endpoint.new(name, definition, secret=self.secret, now_ms=1))
        return (await self.queue.enqueue("webhook", {"endpoint_id": name, **args})).job_id

    async def _attempted(self, job_id: str, number: int) -> JobSnapshot:
        async def look() -> JobSnapshot | None:
            job = await read_job(self.redis, job_id, queues=QUEUES)
            done = job is not None and len(job.attempts) >= number and job.status != "in_progress"
            return job if done else None

        return await eventually(look)

    def _check_requests(self, path: str, *, at_least: int) -> None:
        requests = self.receiver.requests[path]
        assert len(requests) >= at_least
        assert len({headers["webhook-id"] for headers, _ in requests}) == 1
        assert len({body for _, body in requests}) == 1
        for headers, body in requests:
            assert standardwebhooks.Webhook(self.secret).verify(body, headers)["data"] == DATA


def _end_of(answer: Answer, number: int, schedule_s: Sequence[float]) -> str | None:
    """The end that this answer to that attempt brings; None if another attempt follows."""
    if answer.fault is None and 200 <= answer.status < 300:
        return "succeeded"
    return "failed" if answer.status == 410 or number > len(schedule_s) else None


def _wait_s(answer: Answer, planned_s: float) -> tuple[float, float]:
    """How long the next attempt may be off: never less than planned, or than the receiver asks for."""
    low_s, high_s = answer.asked_s
    return max(planned_s * (1 - JITTER), low_s), max(planned_s * (1 + JITTER), high_s)


@asynccontextmanager
async def running(folder: Path, redis_url: str) -> AsyncIterator[House]:
    redis = connect(redis_url, reply_timeout_s=NEVER_S)
    await redis.flushall()
    secret, receiver = new_secret(), Scripted()
    settings = make_settings(folder, webhook_secret=secret, redis_url=redis_url)
    try:
        async with serving(receiver.answer) as url, opened([webhook], settings, redis_url=redis_url) as resources:
            options = {"job_types": [webhook], "resources": resources, "poll_delay": 0.01}
            async with running_worker(redis_url, WEBHOOK_QUEUE, **options):
                yield House(
                    redis=redis,
                    queue=Queue(redis, name=WEBHOOK_QUEUE, ended_ttl_s=600),
                    endpoints=Endpoints(redis),
                    receiver=receiver,
                    url=url.removesuffix("/hook"),
                    secret=secret,
                )
    finally:
        await redis.aclose()


def test_whatever_answers_come(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errand.webhooks.endpoints.store.FRESH_S", 0.0)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        house = runner.run(stack.enter_async_context(running(tmp_path, redis_url)))

        @hypothesis_settings(deadline=None, max_examples=hypothesis_settings().max_examples // 4)
        @given(script=SCRIPTS, own_s=OWN_SCHEDULES)
        @example(script=[Answer(500)] * 10, own_s=None)
        @example(script=[Answer(fault="close"), Answer(fault="reset"), Answer(500)], own_s=[1.0, 2.0])
        def holds(script: list[Answer], own_s: list[float] | None) -> None:
            runner.run(house.delivered(script, own_s))

        try:
            holds()
        finally:
            runner.run(stack.aclose())

"""Webhooks: receivers, a bare aiohttp loop that posts signed bodies to them, and Errand's deliveries of the same."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from arq.connections import ArqRedis
from pydantic_core import from_json, to_json

from errand.job.catalog import Catalog, discover
from errand.process import logs
from errand.process.garbage import collect_less
from errand.process.worker import opened, serve
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.settings import MAIL_QUEUE
from errand.webhooks.endpoints import Endpoint, EndpointDefinition, Endpoints
from errand.webhooks.signing import Signer
from errand.wire import keys
from errand.wire.keys import DEFAULT_QUEUE
from errand.worker.runners.attempt_log import AttemptLog
from errand.worker.worker import Worker
from jobs.webhook import webhook
from settings import Settings
from tests.bench.candidate import cpu_s, cpu_s_of, main, percentile_of_whole_ms
from tests.bench.jobs_here import noop

IN_FLIGHT = 100
FILL = 2_000
SETTLE_S = 18
"""By then each of the events that wait has been looked at once; two seconds later the first attempts time out."""
STEADY_S, STEPS_PER_S = 4, 50
ROUNDS, BURSTS, BURST = 2, 4, 6_000
"""Of each world in turn: from one minute to the next other programs of the machine may take twice as much of it."""
KINDS = ("webhooks", "letters", "others")
LETTER = {"to": "ada@example.com", "name": "Ada"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANSWER = b"HTTP/1.1 204 No Content\r\nServer: bench\r\nDate: Mon, 30 Nov 2026 00:00:00 GMT\r\n\r\n"


class Receiving(asyncio.Protocol):
    """One connection of a receiver that answers 204 at once."""

    def connection_made(self, transport: Any) -> None:
        self._transport, self._came = transport, b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(b"\r\n\r\n") + 4) > 3:
            head = self._came[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._came) < end + length:
                return
            self._came = self._came[end + length :]
            self.answer()

    def answer(self) -> None:
        self._transport.write(ANSWER)


class Hanging(Receiving):
    """One connection of a receiver that reads and never answers."""

    def answer(self) -> None:
        pass


async def receive(url: str, *ports: float) -> dict[str, Any]:
    """Receivers at these ports until they are killed; the last one hangs if there are several."""
    loop = asyncio.get_running_loop()
    for port in ports:
        kind = Hanging if port != ports[0] and port == ports[-1] else Receiving
        await loop.create_server(kind, "127.0.0.1", int(port), backlog=1_000)
    await asyncio.Event().wait()
    return {}


def event(number: int) -> dict[str, Any]:
    return {"id": number, "name": "Ada", "email": "ada@example.com"}


async def bare(url: str, port: float, number: float) -> dict[str, Any]:
    """The least that can be done: make each body, sign it, post it by aiohttp, a hundred at once."""
    signer, numbers, address = Signer(SECRET), iter(range(int(number))), f"http://127.0.0.1:{port:.0f}/hook"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

        async def post_some() -> None:
            for each in numbers:
                now = datetime.now(UTC)
                body = to_json({"type": "user.created", "timestamp": now, "data": event(each)})
                headers = signer.headers(f"msg_{each}", body, now=now)
                async with session.post(address, data=body, headers=headers) as answer:
                    await answer.read()
                    assert answer.status == 204

        used_s, started_s = cpu_s(), time.perf_counter()
        await asyncio.gather(*(post_some() for _ in range(IN_FLIGHT)))
        took_s, used_s = time.perf_counter() - started_s, cpu_s() - used_s
    return {"per_s": number / took_s, "cpu_us": used_s / number * 1e6}


async def deliver(url: str, port: float, number: float) -> dict[str, Any]:
    """The same to one endpoint by a worker that has a hundred slots: from Redis, with results and the log."""
    settings = _settings()
    logs.configure(level="error", form="json")
    async with _connected(url) as (client, queue):
        await _put_endpoints(client, [port])
        await _fill(queue, int(number), ["0"])
        async with opened([webhook], settings, redis_url=url) as resources:
            pool = connect(url, reply_timeout_s=60)
            worker = Worker(
                job_types=[webhook],
                resources=resources,
                attempt_log=AttemptLog("json"),
                redis_pool=pool,
                job_serializer=pool.job_serializer,
                job_deserializer=pool.job_deserializer,
                handle_signals=False,
                queue_name=keys.queue(webhook.queue),
                max_jobs=IN_FLIGHT,
                poll_delay=1.0,
                allow_abort_jobs=True,
            )
            collect_less()  # as the worker process does
            used_s, started_s = cpu_s(), time.perf_counter()
            running = asyncio.create_task(worker.async_run())
            while worker.jobs_complete < number and not worker.jobs_failed:
                await asyncio.sleep(0.002)
            took_s, used_s = time.perf_counter() - started_s, cpu_s() - used_s
            assert not worker.jobs_failed and not worker.jobs_retried
            await worker.close()
            await asyncio.gather(running, return_exceptions=True)
    return {"per_s": number / took_s, "cpu_us": used_s / number * 1e6}


async def work(url: str, mail: float) -> dict[str, Any]:
    """A whole worker process, all queues, until it is killed; its mail server is at that port."""
    logs.configure(level="error", form="json")
    # not the sink, which has each letter written to the disk: its slowest are the disk's, whatever else is under way
    settings = _settings(smtp_url=f"smtp://127.0.0.1:{mail:.0f}?tls=none")
    await serve(settings, Catalog([*discover(settings.packages).values(), noop]), redis_url=url)
    return {}


@dataclass(frozen=True, slots=True)
class World:
    """A Redis and a worker process of its own."""

    client: ArqRedis
    webhooks: Queue
    worker: int
    """Its process."""
    fine: list[str]
    """The ids of the endpoints that answer."""

    async def steady(self) -> dict[str, list[int]]:
        """Some seconds of 200 webhooks, 50 letters and 50 other jobs each; from enqueue to end of each job, in ms."""
        letters, others = (Queue(self.client, name=name, ended_ttl_s=3600) for name in (MAIL_QUEUE, DEFAULT_QUEUE))
        ids: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for step in range(STEADY_S * STEPS_PER_S):
            next_s = time.perf_counter() + 1 / STEPS_PER_S
            ids["webhooks"] += await _fill(self.webhooks, 4, self.fine[step % 5 :])
            ids["others"].append((await others.enqueue("noop", {})).job_id)
            ids["letters"].append((await letters.enqueue("welcome_email", LETTER)).job_id)
            await asyncio.sleep(max(next_s - time.perf_counter(), 0))
        times = {kind: await _times(self.client, job_ids) for kind, job_ids in ids.items()}
        return {kind: [ended_ms - put_ms for put_ms, ended_ms in each] for kind, each in times.items()}

    async def burst(self) -> tuple[float, float]:
        """How many webhooks a second the worker makes, and its processor's time for each, in µs."""
        used_s = cpu_s_of(self.worker)
        times = await _times(self.client, await _fill(self.webhooks, BURST, self.fine))
        used_s = cpu_s_of(self.worker) - used_s
        took_ms = max(ended_ms for _, ended_ms in times) - min(put_ms for put_ms, _ in times)
        return BURST * 1000 / took_ms, used_s / BURST * 1e6

    async def let_wait(self, events: int, endpoint: str, port: float) -> None:
        """Has so many events wait for an endpoint, which hangs."""
        await _put_endpoint(self.client, endpoint, port)
        await _fill(self.webhooks, events, [endpoint])
        await asyncio.sleep(SETTLE_S)

    async def forget(self, endpoint: str) -> None:
        """Its events end as cancelled, but for those whose next attempt is far off."""
        await Endpoints(self.client).remove(endpoint)
        while await self.client.zcard(keys.queue(webhook.queue)) > IN_FLIGHT:
            await asyncio.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two worlds that take turns: no two processes are equally fast, so that each is the one in which nothing hangs."""

    worlds: tuple[World, World]
    late_ms: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """By `hung` or `alone`, and the kind of the jobs."""
    bursts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def measure(self, waiting: int, port: float) -> None:
        """With so many events that wait for the receiver at that port, which hangs."""
        for number, (hung, alone) in enumerate((self.worlds, self.worlds[::-1])):
            endpoint = f"hangs-{number}"
            await hung.let_wait(waiting, endpoint, port)
            named = {"hung": hung, "alone": alone}
            for name, world in [*named.items()] * ROUNDS:
                for kind, late_ms in (await world.steady()).items():
                    self.late_ms[f"{name}_{kind}"] += late_ms
            for name, world in [*named.items()] * BURSTS:
                per_s, cpu_us = await world.burst()
                self.bursts[f"{name}_per_s"].append(per_s)
                self.bursts[f"{name}_cpu_us"].append(cpu_us)
            await hung.forget(endpoint)

    def figures(self) -> dict[str, float]:
        p = {
            f"{name}_p{share}_ms": percentile_of_whole_ms(late_ms, share / 100)
            for name, late_ms in self.late_ms.items()
            for share in (50, 99)
        }
        return p | {name: statistics.geometric_mean(figures) for name, figures in self.bursts.items()}


async def beside(url: str, other: float, worker: float, its_worker: float, waiting: float, *ports: float) -> Any:
    """How late webhooks to all receivers but the last end, letters and other jobs, and how many webhooks a second.

    While `waiting` events wait for the last one, which hangs, and in a world without them, whose Redis is at the port
    `other`.
    """
    async with AsyncExitStack() as stack:

        async def world(url: str, worker: float) -> World:
            client, webhooks = await stack.enter_async_context(_connected(url))
            await _put_endpoints(client, ports[:-1])
            made = World(client, webhooks, int(worker), [str(number) for number in range(len(ports) - 1)])
            await _fill(webhooks, 500, made.fine)
            return made

        pair = Pair((await world(url, worker), await world(f"redis://127.0.0.1:{other:.0f}/0", its_worker)))
        await pair.measure(int(waiting), ports[-1])
    return pair.figures()


async def _times(client: ArqRedis, job_ids: list[str]) -> list[tuple[int, int]]:
    """When each was put and when it ended, in ms, once all have ended."""
    while None in (records := await client.mget([keys.result(job_id) for job_id in job_ids])):
        await asyncio.sleep(0.2)
    read = [from_json(record) for record in records]
    assert all(record["s"] for record in read)
    return [(record["et"], record["ft"]) for record in read]


def _settings(**more: Any) -> Settings:
    return Settings(
        data_dir=Path(tempfile.mkdtemp(prefix="errand-bench-")),
        webhook_allow_networks="127.0.0.0/8",  # type: ignore[arg-type]  # as the environment has it
        webhook_sink_port=0,
        webhook_secret=SECRET,  # type: ignore[arg-type]
        log_level="error",
        **more,
    )


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[tuple[ArqRedis, Queue]]:
    client = connect(url, reply_timeout_s=60)
    yield client, Queue(client, name=webhook.queue, ended_ttl_s=3600)
    await client.aclose()


async def _put_endpoints(client: ArqRedis, ports: Iterable[float]) -> None:
    """One for each port; their ids are numbers."""
    for number, port in enumerate(ports):
        await _put_endpoint(client, str(number), port)


async def _put_endpoint(client: ArqRedis, endpoint_id: str, port: float) -> None:
    definition = EndpointDefinition.model_validate({"url": f"http://127.0.0.1:{port:.0f}/hook"})
    await Endpoints(client).put(Endpoint.new(endpoint_id, definition, secret=SECRET, now_ms=1))


async def _fill(queue: Queue, number: int, endpoint_ids: list[str]) -> list[str]:
    """Puts so many events, to each of the endpoints in turn; returns the ids of their jobs."""
    ids: list[str] = []
    for start in range(0, number, FILL):
        events = [
            {"endpoint_id": endpoint_ids[each % len(endpoint_ids)], "event": "user.created", "data": event(each)}
            for each in range(start, min(start + FILL, number))
        ]
        ids += [put.job_id for put in await queue.enqueue_many("webhook", events)]
    return ids


if __name__ == "__main__":
    main({measure.__name__: measure for measure in (receive, bare, deliver, work, beside)}, uvloop.run)

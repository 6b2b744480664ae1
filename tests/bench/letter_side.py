"""Letters: a mail server, a bare aiosmtplib loop that sends to it over kept connections, and Errand's letters."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiosmtplib
import uvloop
from arq.connections import ArqRedis
from pydantic_core import from_json

from errand.job.catalog import discover
from errand.mail import Message
from errand.mail.smtp import PoolLimits, SmtpPool
from errand.mail.writing.compose import render
from errand.mail.writing.templates import Templates
from errand.process import logs
from errand.process.worker import opened, serve
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.resources.storage import Storage
from errand.settings import MAIL_QUEUE
from errand.wire import keys
from errand.worker.runners.attempt_log import AttemptLog
from errand.worker.worker import Worker
from jobs.resize import resize
from jobs.webhook import webhook
from jobs.welcome_email import welcome_email
from settings import Settings
from tests.bench.candidate import cpu_s, cpu_s_of, main
from tests.mail.letters import letter
from tests.pictures import image

CONNECTIONS = 8
SENDER = "Acme <hello@acme.example>"
FILL = 2_000
HOOKS, IMAGES = 5_000, 40
HOOK_ROUNDS, IMAGE_ROUNDS = 6, 3
"""Of each world in turn: from one minute to the next other programs of the machine may take twice as much of it."""
SETTLE_S = 5
"""By then the letters hold all that they can."""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiving(asyncio.Protocol):
    """One connection of a mail server that takes everything at once."""

    def connection_made(self, transport: Any) -> None:
        self._transport, self._came, self._in_message = transport, b"", False
        transport.write(b"220 bench\r\n")

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._end()) > 0:
            command, self._came = self._came[:end], self._came[end:]
            self._transport.write(self._reply(command))

    def _end(self) -> int:
        mark = b"\r\n.\r\n" if self._in_message else b"\r\n"
        found = self._came.find(mark)
        return found + len(mark) if found >= 0 else 0

    def _reply(self, command: bytes) -> bytes:
        if self._in_message:
            self._in_message = False
            return b"250 2.0.0 OK\r\n"
        verb = command[:4].upper()
        self._in_message = verb == b"DATA"
        return {b"DATA": b"354 go on\r\n", b"EHLO": b"250-bench\r\n250 SIZE 40000000\r\n"}.get(verb, b"250 OK\r\n")


class Hanging(Receiving):
    """One that greets and then says nothing."""

    def _reply(self, command: bytes) -> bytes:
        return b""


async def receive(url: str, port: float, hangs: float = 0) -> dict[str, Any]:
    """A mail server at this port until it is killed."""
    loop = asyncio.get_running_loop()
    await loop.create_server(Hanging if hangs else Receiving, "127.0.0.1", int(port), backlog=1_000)
    await asyncio.Event().wait()
    return {}


async def bare(url: str, port: float, number: float) -> dict[str, Any]:
    """The least that can be done: a message of text and HTML for each, by aiosmtplib, over kept connections."""
    shown = render(Message(to="", name="Ada", template="welcome"), Templates(), sender=SENDER)

    async def send(client: aiosmtplib.SMTP, each: int) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = SENDER, "Ada <ada@example.com>", shown.subject
        message["Date"], message["Message-ID"] = formatdate(), f"<{each}@acme.example>"
        message.set_content(shown.text)
        message.add_alternative(shown.html or "", subtype="html")
        await client.send_message(message)

    return await _by_aiosmtplib(int(port), int(number), send)


async def bare_bytes(url: str, port: float, number: float) -> dict[str, Any]:
    """The same bytes for each, by aiosmtplib."""
    sent = letter()

    async def send(client: aiosmtplib.SMTP, each: int) -> None:
        await client.sendmail(sent.sender, list(sent.recipients), sent.content)

    return await _by_aiosmtplib(int(port), int(number), send)


async def pool_bytes(url: str, port: float, number: float) -> dict[str, Any]:
    """The same bytes for each, by Errand's connections."""
    sent, limits = letter(), PoolLimits(connections=CONNECTIONS)
    async with SmtpPool.open(f"smtp://127.0.0.1:{port:.0f}?tls=none", limits=limits) as pool:

        async def send_some(numbers: Iterator[int]) -> None:
            for _ in numbers:
                await pool.send(sent)

        return await _timed(int(number), [send_some] * CONNECTIONS)


async def work(url: str, port: float) -> dict[str, Any]:
    """A whole worker process, all queues, until it is killed; its mail server is at that port."""
    logs.configure(level="error", form="json")
    settings = _settings(url, port)
    await serve(settings, discover(settings.packages), redis_url=url)
    return {}


async def beside(
    url: str, other: float, port: float, hooks: float, number: float, worker: float, its_worker: float
) -> dict[str, Any]:
    """Webhooks and images a second: while so many letters wait for a mail server that hangs, against a world without
    them, whose Redis is at the port `other`. The last two are the ids of the worker processes."""
    hook = {"url": f"http://127.0.0.1:{hooks:.0f}/hook", "event": "user.created", "data": {"id": 1}}
    async with _filled(url, int(number)) as hung, _filled(f"redis://127.0.0.1:{other:.0f}/0", 0) as alone:
        await asyncio.sleep(SETTLE_S)
        worlds = ((hung, int(worker)), (alone, int(its_worker)))
        webhooks = [[await _webhooks(*world, hook) for world in worlds] for _ in range(HOOK_ROUNDS)]
        images = [[await _images(url, port, client) for client, _ in worlds] for _ in range(IMAGE_ROUNDS)]
    ratios = {
        "webhooks_ratio": [with_them[0] / without[0] for with_them, without in webhooks],
        "webhooks_cpu_ratio": [with_them[1] / without[1] for with_them, without in webhooks],
        "images_ratio": [with_them / without for with_them, without in images],
    }
    return {
        **{name: statistics.median(each) for name, each in ratios.items()},
        "webhooks_per_s": statistics.median(with_them[0] for with_them, _ in webhooks),
        "webhooks_cpu_us": statistics.median(with_them[1] for with_them, _ in webhooks),
        "images_per_s": statistics.median(with_them for with_them, _ in images),
    }


async def _webhooks(client: ArqRedis, worker: int, hook: dict[str, Any]) -> tuple[float, float]:
    """How many a second, and the worker's processor time for each, in µs."""
    used_s = cpu_s_of(worker)
    per_s = await _rate(client, Queue(client, name=webhook.queue, ended_ttl_s=3600), "webhook", [hook] * HOOKS)
    return per_s, (cpu_s_of(worker) - used_s) / HOOKS * 1e6


async def _images(url: str, port: float, client: ArqRedis) -> float:
    """How many a second."""
    content, uploads = image(1_600, 1_200), Storage.at(_settings(url, port).files_url)
    files = [{"key": f"uploads/{uuid4()}", "bytes": len(content)} for _ in range(IMAGES)]
    for file in files:
        await uploads.write(str(file["key"]), _chunk(content))
    args = [{"file": file, "sizes": [{"width": 320, "format": "jpeg"}]} for file in files]
    return await _rate(client, Queue(client, name=resize.queue, ended_ttl_s=3600), "resize", args)


async def _rate(client: ArqRedis, queue: Queue, name: str, args: list[dict[str, Any]]) -> float:
    """Jobs a second, once all have succeeded."""
    ids = [
        put.job_id
        for start in range(0, len(args), FILL)
        for put in await queue.enqueue_many(name, args[start : start + FILL])
    ]
    while None in (records := await client.mget([keys.result(job_id) for job_id in ids])):
        await asyncio.sleep(0.1)
    read = [from_json(record) for record in records]
    assert all(record["s"] for record in read), read[0]
    return len(ids) * 1000 / (max(record["ft"] for record in read) - min(record["et"] for record in read))


async def _chunk(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def jobs(url: str, port: float, number: float) -> dict[str, Any]:
    """The same by jobs: from Redis, with results, markers, the state of each letter and the log."""
    logs.configure(level="error", form="json")
    settings = _settings(url, port)
    async with _filled(url, int(number)), opened([welcome_email], settings, redis_url=url) as resources:
        pool = connect(url, reply_timeout_s=60)
        worker = Worker(
            job_types=[welcome_email],
            resources=resources,
            attempt_log=AttemptLog("json"),
            redis_pool=pool,
            job_serializer=pool.job_serializer,
            job_deserializer=pool.job_deserializer,
            handle_signals=False,
            queue_name=keys.queue(MAIL_QUEUE),
            max_jobs=CONNECTIONS,
            poll_delay=1.0,
            allow_abort_jobs=True,
        )
        used_s, started_s = cpu_s(), time.perf_counter()
        running = asyncio.create_task(worker.async_run())
        while worker.jobs_complete < number and not worker.jobs_failed:
            await asyncio.sleep(0.002)
        took_s, used_s = time.perf_counter() - started_s, cpu_s() - used_s
        assert not worker.jobs_failed and not worker.jobs_retried
        await worker.close()
        await asyncio.gather(running, return_exceptions=True)
    return {"per_s": number / took_s, "cpu_us": used_s / number * 1e6}


def _settings(url: str, port: float) -> Settings:
    """Those of an installation whose mail server is at that port."""
    folder = Path(tempfile.gettempdir(), f"errand-bench-{port:.0f}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return Settings(
        data_dir=folder,
        smtp_url=f"smtp://127.0.0.1:{port:.0f}?tls=none",  # type: ignore[arg-type]  # as the environment has it
        mail_connections=CONNECTIONS,
        mail_from=SENDER,
        redis_url=url,  # type: ignore[arg-type]
        webhook_allow_networks="127.0.0.0/8",  # type: ignore[arg-type]
        webhook_sink_port=0,
        webhook_secret=SECRET,  # type: ignore[arg-type]
        log_level="error",
    )


@asynccontextmanager
async def _filled(url: str, number: int) -> AsyncIterator[ArqRedis]:
    client = connect(url, reply_timeout_s=60)
    queue = Queue(client, name=MAIL_QUEUE, ended_ttl_s=3600)
    for start in range(0, number, FILL):
        args = [{"to": f"ada{each}@example.com", "name": "Ada"} for each in range(start, min(start + FILL, number))]
        await queue.enqueue_many("welcome_email", args)
    yield client
    await client.aclose()


async def _by_aiosmtplib(
    port: int, number: int, send: Callable[[aiosmtplib.SMTP, int], Awaitable[None]]
) -> dict[str, Any]:
    clients = [aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) for _ in range(CONNECTIONS)]
    for client in clients:
        await client.connect()

    def by(client: aiosmtplib.SMTP) -> Callable[[Iterator[int]], Awaitable[None]]:
        async def send_some(numbers: Iterator[int]) -> None:
            for each in numbers:
                await send(client, each)

        return send_some

    figures = await _timed(number, [by(client) for client in clients])
    for client in clients:
        client.close()
    return figures


async def _timed(number: int, senders: list[Callable[[Iterator[int]], Awaitable[None]]]) -> dict[str, Any]:
    """Letters a second, and the processor's time for each; all senders take their numbers from one row."""
    await asyncio.gather(*(send_some(iter(range(10))) for send_some in senders))
    numbers, used_s, started_s = iter(range(number)), cpu_s(), time.perf_counter()
    await asyncio.gather(*(send_some(numbers) for send_some in senders))
    took_s, used_s = time.perf_counter() - started_s, cpu_s() - used_s
    return {"per_s": number / took_s, "cpu_us": used_s / number * 1e6}


if __name__ == "__main__":
    main(
        {measure.__name__: measure for measure in (receive, bare, bare_bytes, pool_bytes, jobs, work, beside)},
        uvloop.run,
    )

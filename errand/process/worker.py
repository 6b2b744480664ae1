"""The worker process: opens what jobs need, and runs jobs until a signal stops it."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import structlog
import uvloop
from arq.connections import ArqRedis
from pydantic import SecretStr

from errand.client.client import Client
from errand.client.published_types import published
from errand.doctor import examine as doctor
from errand.doctor.examine import Installation
from errand.job.catalog import Catalog, discover
from errand.job.context import Opener
from errand.job.job_type import JobType
from errand.process import endless, isolated, processors, start
from errand.process.garbage import collect_less
from errand.process.hangup import on_hangup
from errand.process.supervisor import Body, Ready, supervise
from errand.redis.cluster import partitions
from errand.redis.cluster.partitions import Partitions
from errand.redis.connection import Refused, check_welcome, connect
from errand.redis.outage import REDIS_DEADLINE_S, Outage, missed
from errand.schedules.ticker import Ticker
from errand.settings import Settings
from errand.wire import keys
from errand.worker.crashes import Suspects
from errand.worker.isolation import Isolation
from errand.worker.lookout import Lookout
from errand.worker.runners.attempt_log import AttemptLog
from errand.worker.shared_slots import SharedSlots
from errand.worker.worker import Worker

log = structlog.get_logger("errand.worker")


POLL_S = 1.0
"""How often the queues of an idle process are looked at. Errand wakes a worker for a new job; stock Arq does not, and a
wake-up can be lost."""


REPLY_TIMEOUT_S = 5.0
"""A connection that gives no answer for so long counts as dead."""


def run(settings: Settings) -> None:
    """Runs the worker process, or `WORKER_PROCESSES` of them under this one, until SIGTERM or SIGINT.

    Blocks; exits with one line if it cannot start.
    """
    start.prepare(settings, program="worker")
    processes = processors.count(settings.worker_processes)
    if processes == 1:
        run_one(settings)
    else:
        run_several(settings, processes)


def run_several(settings: Settings, processes: int) -> None:
    """Runs so many worker processes under this one. Exits with code 1 if they cannot start."""
    shared = settings.for_one_of(processes)
    # the embedded server stays, though all of them may be away for a moment
    with start.redis_url(settings):
        code = supervise("worker", processes, partial(_body, shared), stop_within_s=settings.drain_s)
    if code:
        raise SystemExit(code)


def _body(settings: Settings, process: int) -> Body:
    return partial(run_child, settings, process)


def run_child(settings: Settings, process: int, ready: Ready) -> None:
    """Runs the worker process with that number, of several under one parent."""
    start.prepare_child(settings, program="worker", process=process)
    run_one(settings, ready)


def run_one(settings: Settings, ready: Ready = lambda: None) -> None:
    """Runs a worker in this process until a signal stops it; `ready` is called when it does its work."""
    with start.exit_if_unusable():
        catalog = discover(settings.packages)
    with start.redis_url(settings) as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        endless.run(runner, serve(settings, catalog, redis_url=url, ready=ready))


async def serve(settings: Settings, catalog: Catalog, *, redis_url: str, ready: Ready = lambda: None) -> None:
    """Runs a worker for each queue of this process until a signal stops them."""
    async with aclosing(connect(redis_url, reply_timeout_s=REPLY_TIMEOUT_S)) as redis:
        await wait_for(redis)
    shares = settings.queue_shares(catalog.queues)
    known = Installation(
        job_types=list(catalog),
        queues=list(shares),
        replicas=settings.replicas,
        lease_s=settings.lease_s,
        partitions=settings.queue_partitions,
    )
    async with (
        partitions.opened(redis_url, number=settings.queue_partitions, reply_timeout_s=REPLY_TIMEOUT_S) as found,
        opened(catalog.values(), settings, redis_url=redis_url) as resources,
        doctor.looking(found.clients, known),
        published(found.first, catalog.values()),
        Client(settings, redis_url=redis_url),
        serving(found, shares, settings, catalog, resources, redis_url=redis_url) as workers,
    ):
        if unused := set(shares) - set(catalog.queues):
            log.warning("no job type uses these queues: is WORKER_QUEUES right?", queues=sorted(unused))
        log.info("worker ready", types=sorted(catalog), queues=shares)
        ticker = Ticker(found.first, catalog, queue_limit=settings.queue_limit)
        async with ticker.running(), sweeping_files(found, settings, catalog):
            collect_less()
            await run_until_signal(workers, ready)


@asynccontextmanager
async def serving(
    found: Partitions,
    shares: Mapping[str, int],
    settings: Settings,
    catalog: Catalog,
    resources: Mapping[Opener[Any], Any],
    *,
    redis_url: str,
) -> AsyncIterator[Sequence[Worker]]:
    """A worker for each queue and partition, and what looks at the queues of each partition together."""
    await asyncio.gather(*map(check_rights, found.clients[1:]))
    numbers = await served(found, shares)
    slots = {name: SharedSlots(most, workers=len(numbers)) for name, most in shares.items() if len(numbers) > 1}
    workers: list[Worker] = []
    async with AsyncExitStack() as stack:
        for number in numbers:
            suspects = Suspects(await stack.enter_async_context(isolation(settings, redis_url, number)))
            of_partition = [
                worker_of(
                    name,
                    most,
                    settings,
                    catalog,
                    resources,
                    redis_url=redis_url,
                    suspects=suspects,
                    partition=number,
                    slots=slots.get(name),
                )
                for name, most in shares.items()
            ]
            lookout = Lookout(found.clients[number], of_partition, every_s=POLL_S)
            await stack.enter_async_context(lookout.running())
            workers += of_partition
        yield workers


async def served(found: Partitions, queues: Iterable[str]) -> list[int]:
    """The numbers of the partitions that this process serves: those that get jobs, and older ones that still have some.

    A partition that is away is served as soon as it is back.
    """
    return [number for number in range(len(found)) if number < found.number or await _has_jobs(found, number, queues)]


async def _has_jobs(found: Partitions, number: int, queues: Iterable[str]) -> bool:
    left: int = 1  # nobody knows while it is away
    with missed():
        left = await found.clients[number].exists(*map(keys.queue, queues))
    if left:
        log.warning("a partition beyond QUEUE_PARTITIONS is served until its jobs have ended", number=number)
    return left > 0


@asynccontextmanager
async def sweeping_files(found: Partitions, settings: Settings, catalog: Catalog) -> AsyncIterator[None]:
    """Deletes files whose time is over, if there are job types here that may have any."""
    from errand.resources.job_files import may_have_files

    if not any(map(may_have_files, catalog.values())):
        yield
        return
    from errand.resources.file_sweep import FileSweep, FileTtl
    from errand.resources.storage import Storage

    ttl = FileTtl(upload_s=settings.upload_ttl_s, output_s=settings.output_ttl_s or settings.result_ttl_s)
    async with FileSweep(found, Storage.at(settings.files_url), ttl=ttl).running():
        yield


@asynccontextmanager
async def isolation(settings: Settings, redis_url: str, partition: int) -> AsyncIterator[Isolation]:
    """What runs suspects of that partition in another process, which is started when there is one."""
    alone = Isolation(partial(_isolated_process, settings, redis_url, partition))
    try:
        yield alone
    finally:
        await alone.close()


def _isolated_process(settings: Settings, redis_url: str, partition: int, connection: Connection) -> BaseProcess:
    # spawn: a fork would copy the loop's threads and sockets
    spawn = multiprocessing.get_context("spawn")
    return spawn.Process(target=run_isolated, args=(settings, redis_url, partition, connection), name="isolated")


def run_isolated(settings: Settings, redis_url: str, partition: int, connection: Connection) -> None:
    """Makes the attempts that a worker process asks for over the connection, until that process ends."""
    start.prepare_child(settings, program="worker")
    isolated.ignore_signals()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        endless.run(runner, serve_isolated(settings, redis_url, partition, connection))


async def serve_isolated(settings: Settings, redis_url: str, partition: int, connection: Connection) -> None:
    """Opens what jobs need, and makes attempts."""
    catalog = discover(settings.packages)
    async with (
        opened(catalog.values(), settings, redis_url=redis_url) as resources,
        Client(settings, redis_url=redis_url),
    ):

        def worker_at(key: str) -> Worker:
            queue = keys.queue_name(key)
            return worker_of(
                queue,
                1,
                settings,
                catalog,
                resources,
                redis_url=redis_url,
                suspects=Suspects(),
                partition=partition,
            )

        await isolated.Attempts(connection, worker_at).run()


async def wait_for(redis: ArqRedis) -> None:
    """Returns when Redis answers; exits with one line if it refuses the connection."""
    try:
        await Outage().outlast(lambda: check_welcome(redis))
    except Refused as error:
        raise SystemExit(f"settings: REDIS_URL: {error}") from None


async def check_rights(redis: ArqRedis) -> None:
    """Exits with one line if Redis refuses a partition; one that is away is waited for by its workers alone."""
    try:
        with missed():
            await check_welcome(redis, within_s=REDIS_DEADLINE_S)
    except Refused as error:
        raise SystemExit(f"settings: REDIS_URL: {error}") from None


def worker_of(
    queue: str,
    concurrency: int,
    settings: Settings,
    catalog: Catalog,
    resources: Mapping[Opener[Any], Any],
    *,
    redis_url: str,
    suspects: Suspects,
    partition: int,
    slots: SharedSlots | None = None,
) -> Worker:
    """The worker of one queue in one partition. It knows every job type: a producer may put any type into any queue."""
    redis = connect(redis_url, reply_timeout_s=REPLY_TIMEOUT_S, partition=partition)
    return Worker(
        job_types=list(catalog.values()),
        resources=resources,
        hooks=catalog.hooks,
        queue_name=keys.queue(queue),
        redis_pool=redis,
        job_serializer=redis.job_serializer,
        job_deserializer=redis.job_deserializer,
        attempt_log=AttemptLog(settings.log_format, level=settings.log_level),
        lease_s=settings.lease_s,
        result_ttl_s=settings.result_ttl_s,
        dead_ttl_s=settings.dead_ttl_s,
        max_crashes=settings.max_crashes,
        suspects=suspects,
        slots=slots,
        max_jobs=concurrency,
        poll_delay=POLL_S,
        job_completion_wait=settings.drain_s,  # type: ignore[arg-type]  # arq says int and takes any number
        allow_abort_jobs=True,
        handle_signals=False,
    )


async def run_until_signal(workers: Sequence[Worker], ready: Ready = lambda: None) -> None:
    """Runs the workers side by side until a signal. The first starts a drain, a second ends it at once."""
    loop, stop = asyncio.get_running_loop(), Stop(workers)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    on_hangup(
        reload=lambda: log.info("SIGHUP: a worker has no keys to read again"),
        stop=lambda: signal.raise_signal(signal.SIGTERM),
    )
    running = [asyncio.create_task(worker.async_run()) for worker in workers]
    ready()
    try:
        # a worker that a signal stops ends by cancellation; one that ends by an exception is broken
        ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        broken = [error for task in ended if not task.cancelled() and (error := task.exception())]
        if not broken:
            await asyncio.wait(running)
    finally:
        await asyncio.gather(*(worker.close() for worker in workers))
    counts = {name: sum(getattr(worker, name) for worker in workers) for name in ("jobs_complete", "jobs_failed")}
    log.info("worker stopped", **counts)
    if broken:
        raise broken[0]


class Stop:
    """Acts on signals: the first starts a drain, any further one ends it and hands running jobs back to the queue."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._draining = False

    def __call__(self, number: signal.Signals) -> None:
        running = sum(len(worker.tasks) for worker in self._workers)
        if self._draining:
            log.info("stopping at once, what runs is handed back", jobs=running)
        else:
            log.info("draining; another signal stops at once", jobs=running)
        for worker in self._workers:
            if self._draining:
                worker.handle_sig(number)
            else:
                worker.handle_sig_wait_for_completion(number)
        self._draining = True


@asynccontextmanager
async def opened(
    job_types: Iterable[JobType[Any, Any]], settings: Settings, *, redis_url: str | None = None
) -> AsyncIterator[Mapping[Opener[Any], Any]]:
    """The resources that the job types use, each opened once; closed in reverse order.

    They find the Redis of this worker in the settings, the embedded one too.
    """
    if redis_url is not None:
        settings = settings.model_copy(update={"redis_url": SecretStr(redis_url)})
    openers = dict.fromkeys(opener for job_type in job_types for opener in job_type.uses)
    async with AsyncExitStack() as stack:
        try:
            resources = {opener: await stack.enter_async_context(opener(settings)) for opener in openers}
        except ValueError as error:  # a setting that only the library behind it can check, such as SMTP_URL's options
            raise SystemExit(f"settings: {error}") from None
        yield resources

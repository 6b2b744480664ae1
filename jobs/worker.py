"""The worker process: opens what jobs need, runs them until it is told to stop. `python -m jobs.worker`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

import structlog
import uvloop

from jobs.engine import embedded_redis, lifeline, logs
from jobs.engine.catalog import Catalog, discover
from jobs.engine.job_type import JobType, Opener
from jobs.engine.outage import Outage
from jobs.engine.redis_connection import connect
from jobs.engine.worker import Worker
from settings import Settings

log = structlog.get_logger("errand.worker")

POLL_S = 0.02
"""Between looks at the queue: an idle worker picks a job up within this time, for about 1 % of a core."""
REPLY_TIMEOUT_S = 5.0


def main() -> None:
    """Reads the settings and serves until SIGTERM or SIGINT."""
    lifeline.hold()
    settings = Settings.read()
    logs.configure(level=settings.log_level, form=settings.log_format)
    catalog = discover_or_exit(settings.job_packages)
    with embedded_redis.joined(settings.data_dir) if settings.redis_url is None else nullcontext() as own_url:
        url = own_url or settings.redis_url.get_secret_value()  # type: ignore[union-attr]  # one of the two is set
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, catalog, redis_url=url))


def discover_or_exit(packages: Iterable[str]) -> Catalog:
    """The job types; exits with one line where a package cannot be used."""
    try:
        return discover(packages)
    except (ImportError, TypeError, ValueError) as error:
        raise SystemExit(f"job types: {error}") from None


async def serve(settings: Settings, catalog: Catalog, *, redis_url: str) -> None:
    """Runs one worker until it is stopped by a signal."""
    redis = connect(redis_url, reply_timeout_s=REPLY_TIMEOUT_S)
    await Outage().outlast(redis.ping)
    async with opened(catalog.values(), settings) as resources:
        worker = Worker(
            job_types=list(catalog.values()),
            resources=resources,
            redis_pool=redis,
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
            lease_s=settings.lease_s,
            result_ttl_s=settings.result_ttl_s,
            dead_ttl_s=settings.dead_ttl_s,
            max_jobs=settings.worker_concurrency,
            poll_delay=POLL_S,
            job_completion_wait=int(settings.drain_s),
        )
        log.info("worker ready", name=worker.name, types=sorted(catalog), concurrency=settings.worker_concurrency)
        try:
            await worker.async_run()
        except asyncio.CancelledError:
            log.info("worker stopped", complete=worker.jobs_complete, failed=worker.jobs_failed)
        finally:
            await worker.close()


@asynccontextmanager
async def opened(
    job_types: Iterable[JobType[Any, Any]], settings: Settings
) -> AsyncIterator[Mapping[Opener[Any], Any]]:
    """Everything that the job types use, each opened once; closed in reverse."""
    openers = dict.fromkeys(opener for job_type in job_types for opener in job_type.uses)
    async with AsyncExitStack() as stack:
        yield {opener: await stack.enter_async_context(opener(settings)) for opener in openers}


if __name__ == "__main__":
    main()

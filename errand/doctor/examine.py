"""Examines a Redis for what may cost jobs: the same checks for `errand doctor` and for the start of every process.

They change nothing in Redis, and look at a bounded number of jobs in a bounded time.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from arq.connections import ArqRedis
from pydantic_core import from_json
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from errand.doctor.cluster_checks import check_cluster
from errand.doctor.key_checks import check_keys, check_move
from errand.doctor.partition_checks import check_coverage, check_left, together
from errand.doctor.server_checks import Finding, Timing, check_server
from errand.job.catalog import Catalog
from errand.monitor.queues import live_workers
from errand.redis.cluster.each import of_each
from errand.redis.cluster.state import read_cluster, refuses_all_in_a_failover
from errand.redis.outage import Outage, within
from errand.redis.repair import may_be_repaired
from errand.redis.rights import lacking, missing_rights
from errand.redis.rows import rows_of
from errand.redis.server import read_server
from errand.settings import Settings
from errand.wire import keys

log = structlog.get_logger("errand.doctor")


LIMIT_S = 8.0
"""For the checks of the server, and again for those of the queues."""


SETTLE_S = 5.0
"""At a start the queues are looked at so much later: their workers may start at the same moment."""


PINGS = 9


SAMPLE_JOBS = 100


HEAD_BYTES = 2_000
"""How much of a job is read to learn its type, which stands at the front; its args may be large."""


UNREADABLE = "(unreadable)"


OF_A_CLUSTER = ("MOVED ", "CROSSSLOT")
"""What a node of a cluster answers if it is spoken with as one server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What an installation is: the names that it knows, and what it asks of Redis."""

    job_types: Collection[str]
    queues: Sequence[str]
    """The names of its queues."""
    replicas: int
    lease_s: float
    partitions: int = 1
    """How many of them get new jobs."""

    def of_jobs(self, clients: Sequence[ArqRedis]) -> str:
        """Whose jobs one of these clients leads to, in words."""
        return "all jobs of this installation" if len(clients) == 1 else "its jobs"


async def examine(clients: Sequence[ArqRedis], installation: Installation) -> list[Finding]:
    """Every check of each partition; of one that cannot be asked that finding alone."""
    jobs = installation.of_jobs(clients)
    of_partitions = await of_each(clients, lambda redis: _examine(redis, installation, jobs=jobs))
    left = check_left(len(clients), asked=installation.partitions)
    return [*together(of_partitions), *left, *await _check_coverage(clients)]


async def _check_coverage(clients: Sequence[ArqRedis]) -> list[Finding]:
    if len(clients) > 1:
        with contextlib.suppress(RedisError):  # which the checks of that partition put into words
            return check_coverage(refuses_all=await refuses_all_in_a_failover(clients[0]))
    return []


async def _examine(redis: ArqRedis, installation: Installation, *, jobs: str) -> list[Finding]:
    findings = await examine_server(redis, replicas=installation.replicas, jobs=jobs)
    useless = any(finding.check in ("connection", "rights") and finding.level == "warning" for finding in findings)
    return findings if useless else findings + await examine_queues(redis, installation)


async def examine_server(
    redis: ArqRedis,
    *,
    replicas: int,
    jobs: str = "all jobs of this installation",
    clock: Callable[[], float] = time.time,
) -> list[Finding]:
    """The server: what it is, how it keeps what it has, what it has room for, how far away it is.

    `jobs`: whose it has. `clock` returns this machine's time in s since the epoch.
    """

    async def look() -> list[Finding]:
        if missing := await missing_rights(redis):
            return [_rights_finding(missing)]
        state = await read_server(redis)
        of_server = check_server(state, await _measure(redis, clock), replicas=replicas)
        of_cluster = check_cluster(await read_cluster(redis), state, jobs=jobs)
        may = Finding(check="rights", found="the user of REDIS_URL may do what Errand needs")
        return [may, *of_server, *of_cluster]

    return await _reaching(look())


async def examine_queues(redis: ArqRedis, installation: Installation) -> list[Finding]:
    """The queues: keys of another program, a move, jobs of types unknown here, and jobs that no worker runs."""

    async def look() -> list[Finding]:
        if wrong := await check_keys(redis, installation.queues):
            return wrong
        moved = await check_move(redis)
        return [*moved, await _check_job_types(redis, installation), *await _check_workers(redis, installation)]

    return await _reaching(look())


@contextlib.asynccontextmanager
async def looking(clients: Sequence[ArqRedis], installation: Installation) -> AsyncIterator[None]:
    """Logs in the background, once, what is wrong at a start; holds nothing up, and ends with the block."""
    look = asyncio.create_task(_log_warnings(clients, installation))
    try:
        yield
    finally:
        look.cancel()
        await asyncio.wait({look}, timeout=1)


async def _log_warnings(clients: Sequence[ArqRedis], installation: Installation) -> None:
    for redis in clients:
        with contextlib.suppress(RedisError):  # what is no outage the checks put into words
            await Outage().outlast(redis.ping)
    jobs, replicas = installation.of_jobs(clients), installation.replicas
    try:
        _log(together(await of_each(clients, lambda redis: examine_server(redis, replicas=replicas, jobs=jobs))))
        await asyncio.sleep(SETTLE_S)
        _log(together(await of_each(clients, lambda redis: examine_queues(redis, installation))))
    except Exception:
        log.exception("the checks at the start failed; nothing else is affected")


def _log(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.level == "warning":
            log.warning(finding.found, check=finding.check, risk=finding.risk, fix=finding.fix)


async def _reaching(look: Coroutine[Any, Any, list[Finding]]) -> list[Finding]:
    try:
        return await within(LIMIT_S, look)
    except AuthenticationError as error:
        found, fix = f"Redis refuses the user or the password: {error}", "REDIS_URL: redis://USER:PASSWORD@host:port"
    except NoPermissionError as error:
        found, fix = f"Redis refuses what Errand needs: {error}", "give its user these rights (ACL SETUSER)"
    except (RedisError, OSError) as error:
        found, fix = f"Redis cannot be reached: {error}", "start the server, or let REDIS_URL name it"
        if any(word in str(error) for word in OF_A_CLUSTER):
            found, fix = "the server is a node of a cluster", "REDIS_URL: redis+cluster://h1:6379,h2:6379"
        elif may_be_repaired(error):
            found, fix = f"Redis answers, and cannot do what it is asked: {error}", "look at what it names"
    risk = "no job is accepted (503), and none runs, until this is fixed; what Redis has waits there"
    return [Finding(check="connection", level="warning", found=found, risk=risk, fix=fix)]


def _rights_finding(missing: Sequence[str]) -> Finding:
    return Finding(
        check="rights",
        level="warning",
        found=lacking(missing),
        risk="API and worker do not start; if they run, requests are answered 503 and jobs wait",
        fix="give its user these rights (docs/redis.md has the whole line)",
    )


async def _measure(redis: ArqRedis, clock: Callable[[], float]) -> Timing:
    """Some round trips, one after the other; the shortest one says most about the clocks."""
    round_trips: list[tuple[float, float]] = []
    for _ in range(PINGS):
        started_s, before_s = time.perf_counter(), clock()
        seconds, micros = await redis.time()
        took_s = time.perf_counter() - started_s
        round_trips.append((took_s, seconds + micros / 1_000_000 - (before_s + took_s / 2)))
    return Timing(
        round_trip_ms=statistics.median(took_s for took_s, _ in round_trips) * 1000, ahead_s=min(round_trips)[1]
    )


async def _check_job_types(redis: ArqRedis, installation: Installation) -> Finding:
    """The next and the last jobs of each queue: are they of types that this installation has?"""
    found: Counter[str] = Counter()
    for queue in installation.queues:
        found.update(await _sample_types(redis, keys.queue(queue)))
    unknown = Counter({name: number for name, number in found.items() if name not in installation.job_types})
    if not unknown:
        return Finding(check="job-types", found=f"{found.total()} jobs looked at: all of known types")
    names = ", ".join(f"{name} ({number})" for name, number in unknown.most_common(10))
    return Finding(
        check="job-types",
        level="warning",
        found=f"{found.total()} jobs looked at: {unknown.total()} of types unknown here: {names}",
        risk="a worker that does not know a job's type ends it as failed",
        fix="name the package of these types in JOB_PACKAGES and start the workers again; what is unreadable was put "
        "by a producer without Errand's serialisers (errand.wire.codec)",
    )


async def _sample_types(redis: ArqRedis, queue: str) -> list[str]:
    """The types of up to a hundred jobs, from both ends of the queue."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.zrange(queue, 0, SAMPLE_JOBS // 2 - 1)
        pipeline.zrange(queue, -SAMPLE_JOBS // 2, -1)
        head, tail = await pipeline.execute()
        ids = dict.fromkeys(job_id.decode(errors="replace") for job_id in [*head, *tail])
        for job_id in ids:
            pipeline.getrange(keys.body(job_id), 0, HEAD_BYTES - 1)
        bodies = await pipeline.execute(raise_on_error=False)
    return [_type_in(body) for body in bodies if body]  # none: the job ended meanwhile


def _type_in(head: bytes | Exception) -> str:
    """The job type in the first bytes of a job."""
    if isinstance(head, Exception):  # the key of its body has become another program's
        return UNREADABLE
    try:
        job = from_json(head.decode(errors="ignore"), allow_partial=True)
    except ValueError:
        return UNREADABLE
    name = job.get("f") if isinstance(job, dict) else None
    return name if isinstance(name, str) else UNREADABLE


async def _check_workers(redis: ArqRedis, installation: Installation) -> list[Finding]:
    """Jobs that are due in queues which no live worker serves, and queues that are paused."""
    queues = [keys.queue(name) for name in installation.queues]
    live = dict(
        zip(installation.queues, await live_workers(redis, queues=queues, silent_s=installation.lease_s), strict=True)
    )
    seconds, micros = await redis.time()
    async with redis.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.zcount(queue, "-inf", seconds * 1000 + micros // 1000)
            pipeline.exists(keys.paused(queue))
        answers = await pipeline.execute()
    of_queues = dict(zip(installation.queues, rows_of(answers, 2), strict=True))
    due = {name: number for name, (number, _) in of_queues.items()}
    paused = [name for name, (_, is_paused) in of_queues.items() if is_paused]
    unserved = [f"{name} ({due[name]} due)" for name in installation.queues if due[name] and not live[name]]
    findings = [_workers_finding(live, unserved)]
    if paused:
        found = f"paused, nothing is claimed from them: {', '.join(paused)}"
        findings.append(Finding(check="paused", level="note", found=found))
    return findings


def _workers_finding(live: dict[str, int], unserved: Sequence[str]) -> Finding:
    served = ", ".join(f"{name} by {number}" for name, number in live.items())
    if unserved:
        return Finding(
            check="workers",
            level="warning",
            found=f"no live worker serves: {', '.join(unserved)}",
            risk="nothing is lost; these jobs wait",
            fix="start a worker (make run-worker), or name the queue in WORKER_QUEUES of one",
        )
    if not any(live.values()):
        return Finding(check="workers", level="note", found="no worker lives; jobs wait until one is started")
    return Finding(check="workers", found=f"queues served, and by how many workers: {served}")


def installation_of(settings: Settings, catalog: Catalog) -> Installation:
    """The installation that these settings describe, as the checks need to know it."""
    named = [share.name for share in settings.worker_queues]
    return Installation(
        job_types=list(catalog),
        queues=list(dict.fromkeys([*catalog.queues, *named])),
        replicas=settings.replicas,
        lease_s=settings.lease_s,
        partitions=settings.queue_partitions,
    )

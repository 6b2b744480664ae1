"""What `errand health` looks at: the API by its port, a worker, which has none, by its heartbeat in Redis."""

from __future__ import annotations

import asyncio
import socket
from http.client import HTTPException
from urllib.parse import quote

from redis.exceptions import RedisError

from errand.monitor.queues import read_workers
from errand.redis.cluster import partitions
from errand.redis.embedded import socket_path
from errand.server.run import LOCAL, address
from errand.settings import Settings
from errand.wire import codec, keys

ANSWER_S = 5.0
"""For the API, and for Redis; a health check has its own limit around it."""

BEATS = 3
"""A heartbeat comes every third of a lease: so many leases without one, and the worker does not work any more."""


def fault_of_api(settings: Settings) -> str | None:
    """Why the API on `PORT` is not healthy; None if it is."""
    url = f"{address(settings)}/healthz"
    try:
        with LOCAL.open(url, timeout=ANSWER_S) as answer:
            return None if answer.status == 200 else f"{url} answers {answer.status}"
    except (OSError, HTTPException) as error:
        return f"{url}: {error}"


def fault_of_worker(settings: Settings) -> str | None:
    """Why no worker process of this host is healthy; None if one is, or if Redis cannot be asked."""
    try:
        return asyncio.run(_fault_of_worker(settings))
    except (RedisError, OSError):
        return None


async def _fault_of_worker(settings: Settings) -> str | None:
    silent_s, host = settings.lease_s * BEATS, socket.gethostname()
    number = settings.queue_partitions
    async with partitions.opened(_url(settings), number=number, reply_timeout_s=ANSWER_S) as found:
        # as workers publish them: to import the job types would take longer than all the rest
        published = (await found.first.hgetall(keys.JOB_TYPES)).values()  # type: ignore[misc]  # redis-py: async or not
        named = {str(codec.readable_or_empty(record).get("queue", keys.DEFAULT_QUEUE)) for record in published}
        named |= {share.name for share in settings.worker_queues}
        workers = await read_workers(found.clients, sorted(named | {keys.DEFAULT_QUEUE}), silent_s=silent_s)
    if any(worker.host == host for worker in workers):
        return None
    return f"Redis has had no heartbeat of a worker on {host} for {silent_s:g} s"


def _url(settings: Settings) -> str:
    """Of the server; the embedded one is asked if it runs, and is not started."""
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    return f"unix://{quote(str(socket_path(settings.data_dir / 'redis')))}"

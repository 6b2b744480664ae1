"""What workers publish of their job types, so that a program can put a job by name without the module of its type.

The schema says which args there are, and their JSON types. Only the worker makes the further checks of a model (a
validator of its own, an address).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any

import structlog
from redis.asyncio import Redis

from errand.extras import needs
from errand.job.job_type import JobType
from errand.job.producing.checked_args import in_words
from errand.wire import codec, keys

log = structlog.get_logger("errand.client")


PUBLISH_EVERY_S = 60.0
"""If Redis loses its data, it knows the types again after this time."""


FORGET_S = 7 * 86_400
"""If no worker publishes a type for this long, clients no longer know it."""


LOOK_EVERY_S = 5.0
"""How long a client relies on what it has read, so that a program that puts many jobs does not read it for each."""


MAX_FAULTS = 20
"""How many faults of the args an error names."""


@dataclass(frozen=True, slots=True)
class PublishedType:
    """A job type as its workers describe it."""

    name: str
    queue: str
    faults_of: Callable[[Any], Iterable[Any]]
    """Finds what does not fit the schema of the args."""
    priority: int = 0
    undivided: bool = False
    """Its jobs have limits, so they lie in one partition."""

    def check(self, args: Mapping[str, Any]) -> None:
        """Raises ValueError if args do not fit. The message names each of them, without its value."""
        faults = {
            ".".join(map(str, fault.instance_path)): str(fault.message)
            for fault in islice(self.faults_of(args), MAX_FAULTS)
        }
        if faults:
            raise ValueError(f"{self.name}: {in_words(faults)}")


class PublishedTypes:
    """The job types that workers of one Redis have published lately."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[str, PublishedType] = {}
        self._read_s: float | None = None

    async def named(self, name: str) -> PublishedType:
        """Finds a type. Raises LookupError if no worker has published it, ExtraMissing without the extra `client`."""
        if not self._is_fresh or name not in self._known:
            await self._read()
        try:
            return self._known[name]
        except KeyError:
            meant = get_close_matches(name, self._known, n=1)
            more = f"; did you mean '{meant[0]}'?" if meant else ""
            raise LookupError(f"no worker has published a job type '{name}' within a week{more}") from None

    async def queues(self) -> list[str]:
        """The names of the queues of all types, the default one first."""
        if not self._is_fresh:
            await self._read()
        named = {published.queue for published in self._known.values()} - {keys.DEFAULT_QUEUE}
        return [keys.DEFAULT_QUEUE, *sorted(named)]

    def forget(self) -> None:
        """Forgets the types, so that the next call reads them from Redis."""
        self._read_s = None

    @property
    def _is_fresh(self) -> bool:
        return self._read_s is not None and time.monotonic() - self._read_s < LOOK_EVERY_S

    async def _read(self) -> None:
        kept: dict[bytes, bytes] = await self._redis.hgetall(keys.JOB_TYPES)  # type: ignore[misc]  # redis-py: async or not
        since_s = time.time() - FORGET_S
        found = (_published_since(since_s, name, codec.readable_or_empty(record)) for name, record in kept.items())
        self._known = {published.name: published for published in found if published is not None}
        self._read_s = time.monotonic()


def _published_since(since_s: float, name: bytes, record: Mapping[str, Any]) -> PublishedType | None:
    """None for one that is older, or, said so in the log, for what another program has written: it hides no other."""
    try:
        if not record or record["at_s"] <= since_s:
            return None
        return _published(name.decode(), record)
    except (KeyError, TypeError, ValueError) as error:
        log.warning("a job type cannot be read and is left out", name=repr(name), error=repr(error))
        return None


def _published(name: str, record: Mapping[str, Any]) -> PublishedType:
    with needs("client"):
        import jsonschema_rs
    schema = record["args_schema"]
    if not isinstance(record["queue"], str):
        raise TypeError("its queue is no text")
    # masked: an error must not quote an arg, which may be a secret
    faults_of = jsonschema_rs.validator_for(schema, mask="its value").iter_errors
    return PublishedType(name, record["queue"], faults_of, record.get("priority", 0), record.get("undivided", False))


@asynccontextmanager
async def published(redis: Redis, job_types: Iterable[JobType[Any, Any]]) -> AsyncIterator[None]:
    """Publishes these job types in the block, once a minute. While Redis is away, it publishes nothing."""
    records = {
        job_type.name: {
            "queue": job_type.queue,
            "args_schema": job_type.args_schema,
            "priority": job_type.priority,
            "undivided": bool(job_type.limits),
        }
        for job_type in job_types
    }
    publishing = asyncio.create_task(_publish_for_ever(redis, records))
    try:
        yield
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


async def _publish_for_ever(redis: Redis, records: Mapping[str, Mapping[str, Any]]) -> None:
    while True:
        try:
            await publish(redis, records)
        except Exception as error:  # noqa: BLE001  # news for clients, and no worker's reason to end
            log.debug("job types could not be published", error=str(error))
        await asyncio.sleep(PUBLISH_EVERY_S)


async def publish(redis: Redis, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Publishes these job types once. Raises redis' errors."""
    now_s = int(time.time())
    if records:
        mapping = {name: codec.dumps({**record, "at_s": now_s}) for name, record in records.items()}
        await redis.hset(keys.JOB_TYPES, mapping=mapping)  # type: ignore[misc]

"""The endpoints that Redis keeps. A reader has them in memory and asks once a second whether any has changed."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import structlog
from pydantic import ValidationError
from pydantic_core import from_json, to_json
from redis.asyncio import Redis

from errand.redis import script
from errand.redis.repair import repairing
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.endpoints.endpoint import Endpoint
from errand.webhooks.endpoints.tls import KEPT
from errand.wire import keys

log = structlog.get_logger("errand.webhooks")


MAX_ENDPOINTS = 10_000
"""They are all in the memory of each process, and each event is matched with each of them."""
FRESH_S = 1.0
"""A change holds everywhere after this long."""
READ_AT_ONCE = 500
MATCHED_AT_ONCE = 500
THROTTLE_CAP_S = 3600
"""The longest pause of an endpoint that its receiver may ask for; one delivery may wait for a day."""
SAME_PAUSE_S = 1.0
"""A pause that ends so much later than the one under way is no other."""


LONGEST_MOMENT = 15
"""Digits of a time in ms; what has more, or is no number, another program has written."""


PutAnswer = Literal["done", "changed", "full"]


class Endpoints:
    """All endpoints of one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._put = script.load(redis, "webhooks/endpoints/put")
        self._kept: dict[str, Endpoint] = {}
        self._throttled: dict[str, float] = {}
        """Until when receivers have asked for a pause, on the monotonic clock: Redis counts by its own, not by ours."""
        self._revision: bytes | None = b""
        self._looked_s = -math.inf
        """When the last look began that has ended."""
        self._reading: asyncio.Task[None] | None = None

    async def put(self, endpoint: Endpoint, *, seen: str = "") -> PutAnswer:
        """Keeps it in the place of the one with the revision `seen`; as a new one without."""
        return await self._write(endpoint.id, to_json(endpoint.record()), seen)

    async def change(self, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint | None:
        """The endpoint with that change, made to its latest state; None if there is none.

        Nothing is written if `change` returns the very endpoint that it was given.
        """
        while (endpoint := await self.read(endpoint_id)) is not None:
            changed = change(endpoint)
            if changed is endpoint or await self.put(changed, seen=endpoint.revision) == "done":
                return changed
        return None

    async def remove(self, endpoint_id: str) -> bool:
        """False if there is none of that id."""
        while (endpoint := await self.read(endpoint_id)) is not None:
            if await self._write(endpoint_id, b"", endpoint.revision) == "done":
                return True
        return False

    async def read(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint as it is at this moment."""
        found = await self._read_each([endpoint_id])
        return found[0] if found else None

    async def is_kept(self, endpoint_id: str) -> bool:
        """There is one of that id, whether or not this version can read it."""
        return bool(await self._redis.hexists(keys.webhook_endpoint(endpoint_id), "record"))  # type: ignore[misc]

    async def page(self, *, after: str = "", most: int) -> tuple[list[Endpoint], str | None]:
        """Up to so many in the order of their ids, behind the id `after`; and that id for the next page."""
        low = f"({after}" if after else "-"
        ids = _texts(await self._redis.zrangebylex(keys.WEBHOOK_ENDPOINTS, low, "+", 0, most + 1))
        return await self._read_each(ids[:most]), ids[most - 1] if len(ids) > most else None

    async def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint as it was a second ago at most."""
        since_s = time.monotonic() - FRESH_S
        if self._looked_s < since_s:
            await self._look_since(since_s)
        return self._kept.get(endpoint_id)

    async def get_latest(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint as it is at this moment; those who ask together share a look at all that has changed."""
        await self._look_since(time.monotonic())
        return self._kept.get(endpoint_id)

    async def throttle(self, endpoint_id: str, *, for_s: float) -> None:
        """Its receiver has asked for a pause: no worker delivers to it meanwhile, `THROTTLE_CAP_S` at most.

        A pause that is under way is not shortened: of a hundred answers that come in one moment one is written.
        """
        for_s = min(for_s, THROTTLE_CAP_S)
        left_s = self.throttled_s(endpoint_id)
        if left_s > 0 and for_s <= left_s + SAME_PAUSE_S:
            return
        self._throttled[endpoint_id] = time.monotonic() + for_s
        until_ms = await self.now_ms() + int(for_s * 1000)
        await self._redis.hset(keys.WEBHOOK_THROTTLED, endpoint_id, str(until_ms))  # type: ignore[misc]  # redis-py types both its clients

    def throttled_s(self, endpoint_id: str) -> float:
        """For how long it wants nothing yet, as was known a second ago at most; 0 if it is not throttled."""
        return max(self._throttled.get(endpoint_id, 0.0) - time.monotonic(), 0.0)

    async def throttled_until_ms(self, endpoint_ids: Sequence[str]) -> dict[str, int]:
        """Those of the endpoints that are throttled now, and until when."""
        if not endpoint_ids:
            return {}
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(keys.WEBHOOK_THROTTLED, list(endpoint_ids))
            pipeline.time()
            found, clock = await pipeline.execute()
        now_ms = _ms(clock)
        pairs = zip(endpoint_ids, map(moment_ms, found), strict=True)
        return {each: until_ms for each, until_ms in pairs if _lasts((until_ms - now_ms) / 1000)}

    async def receiving(self, event: str, *, tenant: str | None) -> list[Endpoint]:
        """The enabled endpoints that an event goes to, as they are at this moment."""
        await self._look_since(time.monotonic())
        receiving: list[Endpoint] = []
        for number, kept in enumerate(list(self._kept.values()), start=1):
            if kept.enabled and kept.definition.receives(event, tenant):
                receiving.append(kept)
            if number % MATCHED_AT_ONCE == 0:  # each may have a hundred filters
                await asyncio.sleep(0)
        return receiving

    async def of_tenant(self, tenant: str) -> list[Endpoint]:
        """A tenant's endpoints, enabled or not, as they are at this moment, in the order of their ids."""
        await self._look_since(time.monotonic())
        return [kept for kept in self._kept.values() if kept.definition.tenant == tenant]

    async def all(self) -> list[Endpoint]:
        """All of them, as they are at this moment."""
        await self._look_since(time.monotonic())
        return list(self._kept.values())

    async def now_ms(self) -> int:
        """The server's clock."""
        return _ms(await self._redis.time())

    async def _write(self, endpoint_id: str, record: bytes, seen: str) -> PutAnswer:
        answer: bytes = await self._put(
            keys=[
                keys.webhook_endpoint(endpoint_id),
                keys.WEBHOOK_ENDPOINTS,
                keys.WEBHOOK_ENDPOINTS_REVISION,
                keys.webhook_attempts(endpoint_id),
            ],
            args=[endpoint_id, record, secrets.token_hex(8), seen, MAX_ENDPOINTS],
        )
        return answer.decode()  # type: ignore[return-value]  # the script's three answers

    async def _look_since(self, since_s: float) -> None:
        """Returns when a look has ended that began after that time. Callers share looks."""
        while self._looked_s < since_s:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read_all_if_changed())
            await asyncio.shield(self._reading)

    async def _read_all_if_changed(self) -> None:
        looked_s = time.monotonic()
        # no endpoint is to miss its events because another program has written over a key of all of them
        await repairing(self._redis, keys.queue(WEBHOOK_QUEUE), self._read_all)
        self._looked_s = looked_s

    async def _read_all(self) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.get(keys.WEBHOOK_ENDPOINTS_REVISION)
            pipeline.hgetall(keys.WEBHOOK_THROTTLED)
            pipeline.time()
            revision, throttled, clock = await pipeline.execute()
        await self._note_throttled(throttled, now_ms=_ms(clock))
        if revision != self._revision:
            ids = _texts(await self._redis.zrange(keys.WEBHOOK_ENDPOINTS, 0, -1))
            kept: dict[str, Endpoint] = {}
            for start in range(0, len(ids), READ_AT_ONCE):
                kept.update(await self._read_changed(ids[start : start + READ_AT_ONCE]))
            # what changed while it was read has raised the revision: the next look reads again
            self._kept = {name: kept[name] for name in ids if name in kept}
            self._revision = revision

    async def _read_changed(self, ids: Sequence[str]) -> dict[str, Endpoint]:
        """Those endpoints; what is known of one that has not changed is kept: to read a thousand takes 90 ms."""
        revisions = await self._revisions(ids)
        known = {name: kept for name in ids if (kept := self._kept.get(name)) and kept.revision == revisions[name]}
        changed = await self._read_each([name for name in ids if name not in known])
        return known | {endpoint.id: endpoint for endpoint in changed}

    async def _revisions(self, ids: Sequence[str]) -> dict[str, str]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for endpoint_id in ids:
                pipeline.hget(keys.webhook_endpoint(endpoint_id), "revision")
            found = await pipeline.execute()
        return {name: _text(revision or b"") for name, revision in zip(ids, found, strict=True)}

    async def _note_throttled(self, throttled: Mapping[bytes, bytes], *, now_ms: int) -> None:
        """Forgets those whose time has passed, by the clock of the server, which gave it."""
        left_s = {name: (moment_ms(until_ms) - now_ms) / 1000 for name, until_ms in throttled.items()}
        now_s = time.monotonic()
        self._throttled = {_text(name): now_s + wait_s for name, wait_s in left_s.items() if _lasts(wait_s)}
        if passed := [name for name, wait_s in left_s.items() if not _lasts(wait_s)]:
            await self._redis.hdel(keys.WEBHOOK_THROTTLED, *passed)  # type: ignore[misc,arg-type]

    async def _read_each(self, ids: Sequence[str]) -> list[Endpoint]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for endpoint_id in ids:
                pipeline.hmget(keys.webhook_endpoint(endpoint_id), ["record", "revision"])
            rows = await pipeline.execute()
        endpoints = (_endpoint(record, revision) for record, revision in rows if record is not None)
        return [endpoint for endpoint in endpoints if endpoint is not None]


def _lasts(wait_s: float) -> bool:
    """False also for a pause that is longer than any may be: the clock of Redis was set back since it was written."""
    return 0 < wait_s <= THROTTLE_CAP_S + 1


def _endpoint(record: bytes, revision: bytes | None) -> Endpoint | None:
    """None, said so in the log, if this version cannot read it, or another program has written it."""
    try:
        return Endpoint.model_validate({**from_json(record), "revision": _text(revision or b"")}, context=KEPT)
    except ValidationError as error:
        log.warning("an endpoint cannot be read and is left out", faults=error.error_count())
    except (ValueError, TypeError):
        log.warning("an endpoint is no JSON and is left out")
    return None


def _ms(clock: tuple[int, int]) -> int:
    seconds, micros = clock
    return int(seconds) * 1000 + int(micros) // 1000


def moment_ms(text: bytes | None) -> int:
    """The time that Redis keeps in ms; 0 if it keeps none, or something else."""
    return int(text) if text is not None and text.isdigit() and len(text) <= LONGEST_MOMENT else 0


def _texts(names: Sequence[bytes]) -> list[str]:
    return [_text(name) for name in names]


def _text(name: bytes) -> str:
    """Of an id that another program has written perhaps another, which nothing has."""
    return name.decode(errors="replace")

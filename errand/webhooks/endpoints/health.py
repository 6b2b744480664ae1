"""Disables endpoints that will not take events any more: a 410, or nothing but failures for five days."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog
from redis.asyncio import Redis

from errand.redis import script
from errand.webhooks.endpoints.endpoint import Endpoint
from errand.webhooks.endpoints.notices import DISABLED, RECOVERED, EndpointNotices
from errand.webhooks.endpoints.soon import Soon, news
from errand.webhooks.endpoints.store import Endpoints, moment_ms
from errand.wire import keys

log = structlog.get_logger("errand.webhooks")


FAILING_LIMIT_S = 5 * 86_400
"""As long as other services wait, and longer than the schedule of one delivery."""
APART_S = 2 * 86_400
"""Failures that are further apart are none in a row: nothing was sent in between. The usual waits are a day at most."""
NOTED_AFTER_S = 600
"""An endpoint that failed for less recovers without a notice: a restart is none."""
LOOK_EVERY_S = 60.0
"""How often one worker writes down that an endpoint goes on failing."""


class EndpointHealth:
    """What one worker process has seen of endpoints; since when each fails stands in Redis."""

    def __init__(self, redis: Redis, endpoints: Endpoints, notices: EndpointNotices) -> None:
        self._redis = redis
        self._endpoints = endpoints
        self._notices = notices
        self._fails = script.load(redis, "webhooks/endpoints/failing")
        self._recovered = script.load(redis, "webhooks/endpoints/recovered")
        self._noted_s: dict[str, float] = {}
        """When this worker last wrote down that an endpoint fails."""
        self._took: set[str] = set()
        self._failed: set[str] = set()
        """The endpoints that have taken something, and those that failed after it, which is not written down yet."""
        self._disabling: set[str] = set()
        self._soon = Soon(self._write)

    async def close(self) -> None:
        """Writes down what is not yet."""
        await self._soon.close()

    def note(self, endpoint_id: str, *, ok: bool) -> None:
        """An attempt has succeeded or failed, which is written down a moment later; it is lost if Redis is away then.

        Each success counts: another worker may have noted a failure. A hundred attempts that time out in one moment
        must not ask Redis a hundred times.
        """
        if ok:
            self._noted_s.pop(endpoint_id, None)
            self._failed.discard(endpoint_id)
            self._took.add(endpoint_id)
        elif self._is_noted(endpoint_id):
            return
        else:
            self._failed.add(endpoint_id)
        self._soon.ask()

    async def gone(self, endpoint_id: str, *, url: str) -> None:
        """The receiver at that URL has answered 410: Standard Webhooks 1.0 says to send no more."""
        if endpoint_id in self._disabling:
            return
        self._disabling.add(endpoint_id)
        try:
            with news():
                await self._disable(endpoint_id, "the receiver answered 410", url=url)
        finally:
            self._disabling.discard(endpoint_id)

    def _is_noted(self, endpoint_id: str) -> bool:
        """This worker has written down lately that it fails."""
        return time.monotonic() < self._noted_s.get(endpoint_id, -LOOK_EVERY_S) + LOOK_EVERY_S

    async def _write(self) -> None:
        """In their order: what an endpoint has taken came before its failure."""
        took, self._took = self._took, set()
        failed, self._failed = self._failed, set()
        await self._write_successes(took)
        for endpoint_id in failed:
            if not self._is_noted(endpoint_id):
                await self._note_failing(endpoint_id)
                self._noted_s[endpoint_id] = time.monotonic()

    async def _write_successes(self, took: set[str]) -> None:
        """One call, which finds nothing as a rule."""
        if not took:
            return
        recovered: list[bytes] = await self._recovered(keys=[keys.WEBHOOK_FAILING], args=sorted(took))
        for endpoint_id, since_ms in zip(recovered[::2], recovered[1::2], strict=True):
            await self._note_recovered(endpoint_id.decode(), since_ms=moment_ms(since_ms.partition(b" ")[0]))

    async def _note_recovered(self, endpoint_id: str, *, since_ms: int) -> None:
        log.info("a webhook endpoint has recovered", endpoint=endpoint_id)
        if since_ms and await self._endpoints.now_ms() - since_ms >= NOTED_AFTER_S * 1000:
            since = datetime.fromtimestamp(since_ms / 1000, UTC)
            await self._notices.put(RECOVERED, endpoint_id, {"failing_since": since})

    async def _note_failing(self, endpoint_id: str) -> None:
        for_ms: int = await self._fails(keys=[keys.WEBHOOK_FAILING], args=[endpoint_id, APART_S * 1000])
        if for_ms >= FAILING_LIMIT_S * 1000:
            await self._disable(endpoint_id, "every delivery failed for five days")

    async def _disable(self, endpoint_id: str, reason: str, *, url: str | None = None) -> None:
        """`url`: only if it is still there."""
        now_ms = await self._endpoints.now_ms()
        was_enabled = False

        def disabled(endpoint: Endpoint) -> Endpoint:
            nonlocal was_enabled
            was_enabled = endpoint.enabled and url in (None, str(endpoint.definition.url))
            return endpoint.disabled(reason, now_ms=now_ms) if was_enabled else endpoint

        if await self._endpoints.change(endpoint_id, disabled) is not None:
            await self._redis.hdel(keys.WEBHOOK_FAILING, endpoint_id)  # type: ignore[misc]
        if was_enabled:  # not by another worker, or its owner, just before
            log.warning("a webhook endpoint is disabled", endpoint=endpoint_id, reason=reason)
            await self._notices.put(DISABLED, endpoint_id, {"reason": reason})

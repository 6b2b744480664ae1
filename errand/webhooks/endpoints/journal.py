"""What is written down of each attempt to deliver to an endpoint: its health, and the attempt itself."""

from __future__ import annotations

from errand.webhooks.endpoints.attempts import EndpointAttempts
from errand.webhooks.endpoints.health import EndpointHealth
from errand.webhooks.endpoints.notices import EXHAUSTED, NOTICES, EndpointNotices
from errand.webhooks.endpoints.soon import news
from errand.webhooks.endpoints.store import Endpoints
from errand.webhooks.made_attempt import MadeAttempt

ERROR_LIMIT_CHARS = 500
THROTTLING = (429, 502, 503, 504)
"""With a `Retry-After` these ask for a pause of everything, not of one delivery (Standard Webhooks 1.0: throttle)."""


class EndpointJournal:
    """That of one worker process."""

    def __init__(
        self, endpoints: Endpoints, notices: EndpointNotices, health: EndpointHealth, attempts: EndpointAttempts
    ) -> None:
        self._endpoints = endpoints
        self._notices = notices
        self._health = health
        self._attempts = attempts

    async def note(self, made: MadeAttempt) -> None:
        """The attempt has ended. Does nothing if its target is no endpoint."""
        endpoint_id = made.target.endpoint_id
        if endpoint_id is None:
            return
        self._attempts.add(endpoint_id, made.record())
        if made.status in THROTTLING and made.asked_s >= 1:
            with news():
                await self._endpoints.throttle(endpoint_id, for_s=made.asked_s)
        if made.status == 410:
            await self._health.gone(endpoint_id, url=made.target.url)
        else:
            self._health.note(endpoint_id, ok=made.error is None)
        if made.is_last:
            await self._note_exhausted(made, endpoint_id)

    async def _note_exhausted(self, made: MadeAttempt, endpoint_id: str) -> None:
        """The message has failed for good. A notice that has failed is not followed by another."""
        if made.event in NOTICES:
            return
        error = made.target.hide(str(made.error))[:ERROR_LIMIT_CHARS]
        data = {"event": made.event, "webhook_id": made.webhook_id, "job_id": made.ctx.job_id}
        with news():
            await self._notices.put(EXHAUSTED, endpoint_id, {**data, "attempts": made.ctx.attempt, "error": error})

    async def close(self) -> None:
        """Writes what is still to be written."""
        await self._attempts.close()
        await self._health.close()

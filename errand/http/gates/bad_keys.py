"""Keeps a bad key in Redis from failing each request that reads it: removes it, and answers as if it were absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errand.http.answers import problems
from errand.redis.outage import missed
from errand.redis.repair import may_be_repaired, repair


class BadKeys:
    """ASGI middleware around routes. A GET is answered again; what may have changed something is answered 503."""

    def __init__(
        self, app: ASGIApp, *, clients_and_queues: Callable[[], tuple[Sequence[Redis], Sequence[str]]]
    ) -> None:
        """`clients_and_queues` gives a client of each partition, and the keys of the queues."""
        self._app = app
        self._clients_and_queues = clients_and_queues

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ResponseError as error:
            if started or not may_be_repaired(error):
                raise
            await self._repair(scope)
            again = self._app if scope["method"] == "GET" else problems.response(problems.redis_away(error))
            await again(scope, receive, send)

    async def _repair(self, scope: Scope) -> None:
        clients, queues = self._clients_and_queues()
        job_id = scope.get("path_params", {}).get("id")
        for redis in clients:
            # the bad key may be in another partition than the one that is away
            with missed():
                for queue in queues:
                    await repair(redis, queue, job_ids=[job_id] if job_id else [])

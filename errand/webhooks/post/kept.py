"""Connections that are kept for a next request to the same origin."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from errand.webhooks.post.connection import PostConnection
from errand.webhooks.post.dial import Origin

KEEP_S = 30.0
"""How long an unused connection is kept. Servers close theirs after 5 (node) to 75 s (nginx)."""
MAX_OF_AN_ORIGIN = 100
MAX_CONNECTIONS = 500
"""Unused connections in all: each holds a file descriptor."""


class KeptConnections:
    """The unused connections of one process, the last one used first."""

    def __init__(self) -> None:
        self._kept: dict[Origin, deque[PostConnection]] = {}
        self._ends: dict[PostConnection, asyncio.TimerHandle] = {}

    def take(self, origin: Origin) -> PostConnection | None:
        """An open connection to that origin, if one is kept."""
        of_origin = self._kept.get(origin)
        while of_origin:
            connection = of_origin.pop()
            self._forget(origin, connection)
            if connection.is_usable:
                return connection
        return None

    def put(self, origin: Origin, connection: PostConnection) -> None:
        """Keeps it if it can carry another request and there is room, else closes it."""
        is_full = len(self._ends) >= MAX_CONNECTIONS or len(self._kept.get(origin, ())) >= MAX_OF_AN_ORIGIN
        if is_full or not connection.is_open:
            connection.close()
            return
        self._kept.setdefault(origin, deque()).append(connection)
        connection.keep(partial(self._drop, origin))
        self._ends[connection] = asyncio.get_running_loop().call_later(KEEP_S, self._drop, origin, connection)

    def close(self) -> None:
        """Closes all of them."""
        for origin, of_origin in list(self._kept.items()):
            for connection in list(of_origin):
                self._drop(origin, connection)

    def _drop(self, origin: Origin, connection: PostConnection) -> None:
        of_origin = self._kept.get(origin)
        if of_origin and connection in of_origin:
            of_origin.remove(connection)
        self._forget(origin, connection)
        connection.close()

    def _forget(self, origin: Origin, connection: PostConnection) -> None:
        connection.take()
        if (timer := self._ends.pop(connection, None)) is not None:
            timer.cancel()
        if not self._kept.get(origin):
            self._kept.pop(origin, None)

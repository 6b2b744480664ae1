"""Connections that are kept for a next request to the same origin."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial

from errand.webhooks.post.connection import PostConnection
from errand.webhooks.post.dial import Origin

KEEP_S = 30.0
"""How long an unused connection is kept. Servers close theirs after 5 (node) to 75 s (nginx)."""
SWEEP_S = 5.0
"""How often those are closed that were kept for so long: a timer for each would cost as much as to write a request."""
MAX_OF_AN_ORIGIN = 100
MAX_CONNECTIONS = 500
"""Unused connections in all: each holds a file descriptor."""


class KeptConnections:
    """The unused connections of one process, the last one used first."""

    def __init__(self) -> None:
        self._kept: dict[Origin, deque[PostConnection]] = {}
        """Of each origin, those longest unused first."""
        self._count = 0
        self._sweep: asyncio.TimerHandle | None = None

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
        of_origin = self._kept.get(origin)
        is_full = self._count >= MAX_CONNECTIONS or (of_origin is not None and len(of_origin) >= MAX_OF_AN_ORIGIN)
        if is_full or not connection.is_open:
            connection.close()
            return
        if of_origin is None:
            of_origin = self._kept[origin] = deque()
        of_origin.append(connection)
        self._count += 1
        connection.keep(partial(self._drop, origin), now_s=time.monotonic())
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._close_old)

    def close(self) -> None:
        """Closes all of them."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for origin, of_origin in list(self._kept.items()):
            for connection in list(of_origin):
                self._drop(origin, connection)

    def _close_old(self) -> None:
        for origin, of_origin in list(self._kept.items()):
            while of_origin and of_origin[0].kept_since_s < time.monotonic() - KEEP_S:
                self._drop(origin, of_origin[0])
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(SWEEP_S, self._close_old) if self._kept else None

    def _drop(self, origin: Origin, connection: PostConnection) -> None:
        of_origin = self._kept.get(origin)
        if of_origin and connection in of_origin:
            of_origin.remove(connection)
            self._forget(origin, connection)
        connection.close()

    def _forget(self, origin: Origin, connection: PostConnection) -> None:
        """It is out of its row."""
        connection.take()
        self._count -= 1
        if not self._kept[origin]:
            del self._kept[origin]

"""Looks up host names in threads of their own, so that a name server that hangs holds up nobody else.

The event loop's own threads are few (libuv has four): a handful of names that hang would stop every other lookup.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time

from errand.resources.guard import AddressInfo
from errand.webhooks.post_fault import PostFault

KEEP_S = 10.0
"""How long an answer is used again. The guard looks at the address of every connection, whenever it was looked up."""
MAX_LOOKUPS = 256
"""Threads at once, one for each name that is looked up."""
MAX_KEPT = 10_000
MAX_ADDRESSES = 16
"""Of a name: its owner may list thousands, each of which is looked at, and dialled in turn."""


Found = list[AddressInfo]


class Names:
    """Addresses by host and port, kept for a few seconds; one lookup of a name at a time."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], tuple[float, Found]] = {}
        self._pending: dict[tuple[str, int], asyncio.Future[Found]] = {}

    async def addresses(self, host: str, port: int) -> Found:
        """As `getaddrinfo` has them. Raises PostFault: `dns`, or `blocked` for what cannot be the name of a host."""
        key = (host, port)
        kept_s, found = self._kept.get(key, (0.0, []))
        if kept_s > time.monotonic():
            return found
        pending = self._pending.get(key) or self._start(key)
        # shielded: others may wait for the same lookup
        return await asyncio.shield(pending)

    def _start(self, key: tuple[str, int]) -> asyncio.Future[Found]:
        if len(self._pending) >= MAX_LOOKUPS:
            raise PostFault("dns", f"{len(self._pending)} other names are being looked up")
        loop = asyncio.get_running_loop()
        future = self._pending[key] = loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # all who waited may have left
        threading.Thread(target=self._look_up, args=(loop, key, future), daemon=True, name="errand-dns").start()
        return future

    def _look_up(self, loop: asyncio.AbstractEventLoop, key: tuple[str, int], future: asyncio.Future[Found]) -> None:
        host, port = key
        found: Found = []
        fault: PostFault | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)  # type: ignore[assignment]  # typeshed's tuples are wider
        except UnicodeError:  # an empty label, or one of over 63 characters
            fault = PostFault("blocked", f"not the name of a host: {host}")
        except OSError as error:
            fault = PostFault("dns", f"{host}: {error.strerror or error}")
        try:
            loop.call_soon_threadsafe(self._done, key, future, found, fault)
        except RuntimeError:  # the loop has closed meanwhile
            return

    def _done(self, key: tuple[str, int], future: asyncio.Future[Found], found: Found, fault: PostFault | None) -> None:
        del self._pending[key]
        if fault is not None:
            future.set_exception(fault)
            return
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[key] = (time.monotonic() + KEEP_S, found[:MAX_ADDRESSES])
        future.set_result(found[:MAX_ADDRESSES])

"""Looks up host names in threads of their own, so that a name server that hangs holds up nobody else.

The event loop's own threads are few (libuv has four): a handful of names that hang would stop every other lookup.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import NamedTuple

from errand.resources.guard import AddressInfo

KEEP_S = 10.0
"""How long an answer is used again. The guard looks at the address of every connection, whenever it was looked up."""
STALE_S = 3600.0
"""The same if no thread is free to look the name up again (RFC 8767 §5 allows days)."""
MAX_LOOKUPS = 256
"""Threads at once, one for each name that is looked up."""
MAX_SLOW = MAX_LOOKUPS // 2
"""Of these for names that take long, so that some are left for all others."""
SLOW_S = 2.0
"""Name servers that answer at all mostly do so in less, one lost packet included."""
MAX_KEPT = 10_000
MAX_ADDRESSES = 16
"""Of a name: its owner may list thousands, each of which is looked at, and dialled in turn."""


Found = list[AddressInfo]


class Key(NamedTuple):
    """What is looked up."""

    host: str
    port: int


class Lookup(NamedTuple):
    """One that is under way."""

    future: asyncio.Future[Found]
    since_s: float


class LookupsBusy(Exception):
    """The name was not looked up: there is no thread for it. Its owner has no fault in that."""


class Lookups:
    """Addresses by host and port, kept for a few seconds; one lookup of a name at a time."""

    def __init__(self) -> None:
        self._kept: dict[Key, tuple[float, Found]] = {}
        """The latest answer of each, and when it came."""
        self._pending: dict[Key, Lookup] = {}
        self._slow: set[str] = set()
        """The hosts whose latest lookup took long."""

    async def addresses(self, host: str, port: int) -> Found:
        """As `getaddrinfo` has them.

        Raises OSError if the name has no address; UnicodeError for what cannot be the name of a host; LookupsBusy if
        other names have taken all the threads, and this one was not found lately, or if the system gives no thread.
        """
        key, now_s = Key(host, port), time.monotonic()
        found_s, found = self._kept.get(key, (-STALE_S, []))
        if now_s - found_s < KEEP_S:
            return found
        lookup = self._pending.get(key)
        if lookup is None:
            if not self._has_room(host, now_s):
                if now_s - found_s < STALE_S:
                    return found
                raise LookupsBusy(f"{len(self._pending)} other host names are being looked up")
            lookup = self._start(key, now_s)
        # shielded: others may wait for the same lookup
        return await asyncio.shield(lookup.future)

    def _has_room(self, host: str, now_s: float) -> bool:
        """One more name may be looked up."""
        if host not in self._slow or len(self._pending) < MAX_SLOW:
            return len(self._pending) < MAX_LOOKUPS
        slow = sum(key.host in self._slow or now_s - since_s > SLOW_S for key, (_, since_s) in self._pending.items())
        return slow < MAX_SLOW

    def _start(self, key: Key, now_s: float) -> Lookup:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # all who waited may have left
        thread = threading.Thread(target=self._look_up, args=(loop, key, future), daemon=True, name="errand-dns")
        try:
            thread.start()
        except RuntimeError as error:  # a limit of the system, such as the processes of a container
            raise LookupsBusy(f"no thread looks up the host name: {error}") from None
        self._pending[key] = lookup = Lookup(future, now_s)
        return lookup

    def _look_up(self, loop: asyncio.AbstractEventLoop, key: Key, future: asyncio.Future[Found]) -> None:
        found: Found = []
        fault: Exception | None = None
        try:
            found = socket.getaddrinfo(*key, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)  # type: ignore[assignment]  # typeshed's tuples are wider
        except (OSError, UnicodeError) as error:  # UnicodeError: an empty label, or one of over 63 characters
            fault = error
        try:
            loop.call_soon_threadsafe(self._done, key, future, found, fault)
        except RuntimeError:  # the loop has closed meanwhile
            return

    def _done(self, key: Key, future: asyncio.Future[Found], found: Found, fault: Exception | None) -> None:
        now_s = time.monotonic()
        self._note_time(key.host, now_s - self._pending.pop(key).since_s)
        if fault is not None:
            future.set_exception(fault)
            return
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[key] = (now_s, found[:MAX_ADDRESSES])
        future.set_result(found[:MAX_ADDRESSES])

    def _note_time(self, host: str, took_s: float) -> None:
        if took_s <= SLOW_S:
            self._slow.discard(host)
            return
        if len(self._slow) >= MAX_KEPT:
            self._slow.clear()
        self._slow.add(host)

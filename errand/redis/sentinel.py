"""Finds the master that Sentinel has chosen, again after each failover.

By the rules for clients (redis.io, "Guidelines for Redis clients with support for Sentinel"): ask one sentinel after
the other, connect, and believe none before the server itself says by ROLE that it is a master. redis-py waits for each
dead sentinel's time limit in turn and believes the first answer; its classes do the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError, RedisError, ResponseError

from errand.redis.pool import Pool
from errand.redis.subscription import messages
from errand.redis_url import SentinelUrl

HEAD_START_S = 0.2
"""A sentinel that has not answered by then may be dead: the next one is asked as well."""


REPLY_TIMEOUT_S = 1.0


SWITCHED = "+switch-master"
"""The channel on which a sentinel says that a master has another address: `name old-ip old-port ip port`."""


WATCH_PING_S = 5.0


WATCH_PAUSE_S = 1.0


class UnknownMaster(MasterNotFoundError):
    """The sentinels that answer watch no master of that name."""


class Sentinels(Sentinel):
    """The sentinels of one master, the one that answered last first."""

    def __init__(self, places: Iterable[tuple[str, int]], *, ssl: bool = False, **options: Any) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        kind = SSLConnection if ssl else Connection
        self.sentinels = [
            Redis(connection_pool=Pool(connection_class=kind, host=host, port=port, **options)) for host, port in places
        ]

    async def addresses(self, master: str) -> AsyncGenerator[tuple[str, int], None]:
        """Where they say the master is, each place once, as the answers come.

        The next sentinel is asked when one has answered and its answer was not usable, has failed, or is slow. Raises
        ConnectionError where none of them says any.
        """
        waiting: list[Redis] = list(self.sentinels)
        asked: dict[asyncio.Future[tuple[str, int]], Redis] = {}
        seen: set[tuple[str, int]] = set()
        errors: list[BaseException] = []
        try:
            while waiting or asked:
                if waiting:
                    sentinel = waiting.pop(0)
                    asked[asyncio.ensure_future(_ask(sentinel, master))] = sentinel
                answered, _ = await asyncio.wait(
                    asked, timeout=HEAD_START_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for answer in answered:
                    answering = asked.pop(answer)
                    if error := answer.exception():
                        errors.append(error)
                    elif (place := answer.result()) not in seen:
                        seen.add(place)
                        self.sentinels.sort(key=lambda other, last=answering: other is not last)  # type: ignore[misc]
                        yield place
        finally:
            for answer in asked:
                answer.cancel()
                answer.add_done_callback(lambda left: left.cancelled() or left.exception())
        if not seen:
            raise _most_telling(errors, master)


async def _ask(sentinel: Redis, master: str) -> tuple[str, int]:
    """One sentinel's word. Its connection is not kept: one is needed so rarely that it would be stale by then."""
    try:
        state = await sentinel.sentinel_master(master)  # type: ignore[no-untyped-call]
    except ResponseError as error:
        if "No such master" in str(error):
            raise UnknownMaster(f"Sentinel knows no master called '{master}'") from None
        raise
    finally:
        await sentinel.connection_pool.disconnect(inuse_connections=False)
    if not state["is_master"] or state["is_sdown"] or state["is_odown"]:
        raise MasterNotFoundError(f"Sentinel says that the master '{master}' is down")
    return state["ip"], state["port"]


def _most_telling(errors: list[BaseException], master: str) -> BaseException:
    """What to raise of all that the sentinels said: that it is away, before what only an operator can fix."""
    unmendable = AuthenticationError | UnknownMaster
    answered = [error for error in errors if isinstance(error, unmendable | MasterNotFoundError)]
    for error in sorted(answered, key=lambda error: isinstance(error, unmendable)):
        return error
    lost = MasterNotFoundError(f"no sentinel knows where '{master}' is: {'; '.join(map(str, errors))}")
    lost.__cause__ = errors[-1]
    return lost


class MasterConnection(SentinelManagedConnection):
    """A connection to the master, wherever that is at the moment it is opened."""

    connection_pool: SentinelPool

    async def _connect_retry(self) -> None:
        """What redis-py's `connect` calls."""
        if self.is_connected:
            return
        pool = self.connection_pool
        failed: Exception | None = None
        async with aclosing(pool.sentinel_manager.addresses(pool.service_name)) as addresses:
            async for address in addresses:
                try:
                    await self.connect_to(address)  # type: ignore[no-untyped-call]
                except (RedisError, OSError) as error:
                    failed = error
                else:
                    await pool.note_master(address)
                    return
        raise failed or MasterNotFoundError(pool.service_name)

    async def on_connect(self) -> None:
        """A sentinel that was cut off itself may still name the old master: the server's own word counts."""
        await super().on_connect()
        await self.send_command("ROLE", check_health=False)
        try:
            role, *_ = await self.read_response()
        except NoPermissionError:
            return  # a user who may not ask: a write would be answered READONLY, and the connection given up
        if role != b"master":
            raise ConnectionError(f"{self.host}:{self.port} is no master")


class MasterTlsConnection(MasterConnection, SSLConnection):
    """The same over TLS."""


class SentinelPool(Pool, SentinelConnectionPool):
    """Connections to the master of one name."""

    sentinel_manager: Sentinels
    _watcher: asyncio.Task[None] | None = None

    @classmethod
    def at(cls, url: str, **limits: Any) -> Self:
        """For a `redis[s]+sentinel://` URL; `limits` are options of every connection. Raises ValueError."""
        to = SentinelUrl.parse(url)
        with_tls = to.servers.pop("ssl", False)
        sentinels = Sentinels(to.addresses, **{**limits, "socket_timeout": REPLY_TIMEOUT_S, **to.sentinels})
        kind = MasterTlsConnection if with_tls else MasterConnection
        return cls(connection_class=kind, service_name=to.master, sentinel_manager=sentinels, **limits, **to.servers)

    async def note_master(self, address: tuple[str, int]) -> None:
        """A connection to the master has been made: after a failover those to the old one are dropped."""
        if self.master_address != address:
            self.master_address = address
            await self.drop_idle()
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Closes the connections; all of them, and the watch for failovers ends."""
        if inuse_connections and self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await super().disconnect(inuse_connections)

    async def _watch(self) -> None:
        """Hears of failovers from Sentinel.

        An old master that lives learns only seconds later that it is none any more. What it takes until then is lost.
        """
        while True:
            for sentinel in list(self.sentinel_manager.sentinels):
                with suppress(RedisError, OSError):
                    await self._listen(sentinel)
            await asyncio.sleep(WATCH_PAUSE_S)

    async def _listen(self, sentinel: Redis) -> None:
        """Until that sentinel falls silent."""
        async with sentinel.pubsub() as subscription:
            await subscription.subscribe(SWITCHED)
            async for message in messages(subscription, ping_every_s=WATCH_PING_S):
                if message is not None and message.split(" ")[0] == self.service_name:
                    await super().disconnect()

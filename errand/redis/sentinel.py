"""Finds the master that Sentinel has chosen, again after each failover.

By the rules for clients (redis.io, "Guidelines for Redis clients with support for Sentinel"): ask one sentinel after
the other, connect, and believe none before the server itself says by ROLE that it is a master. redis-py's own classes
wait for each dead sentinel's time limit in turn and believe the first answer; they are not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any, Self, TypeVar

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError, RedisError, ResponseError

from errand.redis.redis_py import MovingConnection, MovingTlsConnection, Pool, drop_idle_of
from errand.redis.subscription import messages
from errand.redis_url import RedisUrl

R = TypeVar("R", bound=Redis)


T = TypeVar("T")


HEAD_START_S = 0.2
"""A sentinel that has not answered by then may be dead: the next one is asked as well."""


REPLY_TIMEOUT_S = 1.0


SWITCHED = "+switch-master"
"""The channel on which a sentinel says that a master has another address: `name old-ip old-port ip port`."""


WATCH_PING_S = 5.0


WATCH_PAUSE_S = 1.0


class MasterNotFound(ConnectionError):
    """No sentinel that answers can name the address of a master that is up."""


class UnknownMaster(MasterNotFound):
    """The sentinels that answer watch no master of that name."""


class Sentinels:
    """The sentinels of one master, the one that answered last first."""

    def __init__(self, addresses: Iterable[tuple[str, int]], *, tls: bool, **options: Any) -> None:
        """`options` are those of redis-py's connections."""
        kind = SSLConnection if tls else Connection
        self.clients = [
            Redis(connection_pool=Pool(connection_class=kind, host=host, port=port, **options))
            for host, port in addresses
        ]

    async def addresses(self, master: str) -> AsyncGenerator[tuple[str, int], None]:
        """Each address that they name for the master, once, as the answers come.

        The next sentinel is asked when one has answered and its answer was not usable, has failed, or is slow. Raises
        ConnectionError if none of them names one.
        """
        seen: set[tuple[str, int]] = set()
        errors: list[BaseException] = []
        async with aclosing(answers_in_turn(self.clients, lambda sentinel: _ask(sentinel, master))) as answers:
            async for sentinel, answer in answers:
                if isinstance(answer, BaseException):
                    errors.append(answer)
                elif answer not in seen:
                    seen.add(answer)
                    self._put_first(sentinel)
                    yield answer
        if not seen:
            raise _error_to_raise(errors, master)

    def _put_first(self, sentinel: Redis) -> None:
        self.clients.sort(key=lambda other: other is not sentinel)


async def answers_in_turn(
    clients: Iterable[R], ask: Callable[[R], Awaitable[T]]
) -> AsyncGenerator[tuple[R, T | BaseException], None]:
    """What each of several servers that know the same answers, or its error, as they come.

    The next one is asked when one has answered and the caller goes on, or when it is slow.
    """
    waiting = list(clients)
    asked: dict[asyncio.Future[T], R] = {}
    try:
        while waiting or asked:
            if waiting:
                client = waiting.pop(0)
                asked[asyncio.ensure_future(ask(client))] = client
            answered, _ = await asyncio.wait(
                asked, timeout=HEAD_START_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for answer in answered:
                answering = asked.pop(answer)
                yield answering, answer.exception() or answer.result()
    finally:
        for answer in asked:
            answer.cancel()
            answer.add_done_callback(lambda left: left.cancelled() or left.exception())


async def _ask(sentinel: Redis, master: str) -> tuple[str, int]:
    """The master's address as one sentinel knows it.

    Its connection is not kept: one is needed so rarely that it would be stale by then.
    """
    try:
        state = await sentinel.sentinel_master(master)  # type: ignore[no-untyped-call]
    except ResponseError as error:
        if "No such master" in str(error):
            raise UnknownMaster(f"Sentinel knows no master called '{master}'") from None
        raise
    finally:
        await drop_idle_of(sentinel)
    if not state["is_master"] or state["is_sdown"] or state["is_odown"]:
        raise MasterNotFound(f"Sentinel says that the master '{master}' is down")
    return state["ip"], state["port"]


def _error_to_raise(errors: list[BaseException], master: str) -> BaseException:
    """One of all that the sentinels answered: that the master is down, before what only an operator can fix."""
    final = AuthenticationError | UnknownMaster
    answered = [error for error in errors if isinstance(error, final | MasterNotFound)]
    for error in sorted(answered, key=lambda error: isinstance(error, final)):
        return error
    lost = MasterNotFound(f"no sentinel knows where '{master}' is: {'; '.join(map(str, errors))}")
    lost.__cause__ = errors[-1]
    return lost


class MasterConnection(MovingConnection):
    """A connection to the server that is the master at the moment it is opened."""

    async def open(self) -> None:
        pool = self.pool and self.pool()
        assert isinstance(pool, SentinelPool), "a SentinelPool makes these connections, and outlives them"
        failed: Exception | None = None
        async with aclosing(pool.sentinels.addresses(pool.master)) as addresses:
            async for address in addresses:
                try:
                    await self.open_at(address)
                except (RedisError, OSError) as error:
                    failed = error
                else:
                    await pool.note_master(address)
                    return
        raise failed or MasterNotFound(pool.master)

    async def greet(self) -> None:
        """Asks the server whether it is a master: a sentinel that was cut off itself may still name the old one."""
        await self.send_command("ROLE", check_health=False)
        try:
            role, *_ = await self.read_response()
        except NoPermissionError:
            return  # a user who may not ask: a write would be answered READONLY, and the connection given up
        if role != b"master":
            raise ConnectionError(f"{self.host}:{self.port} is no master")


class MasterTlsConnection(MasterConnection, MovingTlsConnection):
    """The same over TLS."""


class SentinelPool(Pool):
    """Connections to the master of one name."""

    def __init__(self, *, master: str, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self.master = master
        self.sentinels = sentinels
        self._master_address: tuple[str, int] | None = None
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    def at(cls, url: RedisUrl, **limits: Any) -> Self:
        """For a `redis[s]+sentinel://` URL; `limits` are options of every connection."""
        return cls(
            connection_class=MasterTlsConnection if url.servers.tls else MasterConnection,
            master=url.master,
            sentinels=Sentinels(
                url.addresses,
                tls=url.sentinels.tls,
                **{**limits, "socket_timeout": REPLY_TIMEOUT_S, **url.sentinels.options},
            ),
            **limits,
            **url.servers.options,
        )

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "master": self.master, "sentinels": self.sentinels}

    async def note_master(self, address: tuple[str, int]) -> None:
        """A connection to the master has been made: after a failover those to the old one are dropped."""
        if self._master_address != address:
            self._master_address = address
            await self.drop_idle()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_for_failovers())

    async def end(self) -> None:
        """Ends the watch for failovers."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _watch_for_failovers(self) -> None:
        """Learns of failovers from Sentinel.

        An old master that lives learns only seconds later that it is none any more. What it takes until then is lost.
        """
        while True:
            for sentinel in list(self.sentinels.clients):
                with suppress(RedisError, OSError):
                    await self._listen(sentinel)
            await asyncio.sleep(WATCH_PAUSE_S)

    async def _listen(self, sentinel: Redis) -> None:
        """Until that sentinel falls silent."""
        async with sentinel.pubsub() as subscription:
            await subscription.subscribe(SWITCHED)
            async for message in messages(subscription, ping_every_s=WATCH_PING_S):
                if message is not None and message.split(" ")[0] == self.master:
                    await self.disconnect_all()

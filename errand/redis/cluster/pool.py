"""Connections to the one master of a cluster that has all keys of a partition, wherever it is by now."""

from __future__ import annotations

import asyncio
import builtins
import re
from contextlib import aclosing
from typing import Any, Self

from redis.exceptions import NoPermissionError, RedisError, ResponseError, TimeoutError

from errand.redis.cluster.nodes import REPLY_TIMEOUT_S, Address, Nodes, SlotNotServed
from errand.redis.cluster.owner import Owner, owner_of
from errand.redis.cluster.tag import Tag
from errand.redis.outage import KeysAway
from errand.redis.redis_py import NO_MASTER_ANY_MORE, Pool, RenamingConnection, RenamingTlsConnection
from errand.redis_url import RedisUrl
from errand.wire import keys

WELCOME_LIMIT_S = 2.0
"""For a node to take a connection: one that hangs takes it, says nothing, and is named by all others for a while."""


KEYS_AWAY = ("MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN")
"""How a node begins to say that it cannot do a call with these keys, or not now."""


MOVED = re.compile(r"MOVED \d+ (?P<host>.*):(?P<port>\d+)")


class ClusterConnection(RenamingConnection):
    """A connection to the node that has the slot at the moment it is opened."""

    given_up_at = (*NO_MASTER_ANY_MORE, "MOVED ", "CLUSTERDOWN")
    tag: Tag

    async def open(self) -> None:
        pool = self.pool and self.pool()
        assert isinstance(pool, ClusterPool), "a ClusterPool makes these connections, and outlives them"
        self.tag = pool.tag
        failed: Exception | None = None
        tried: set[Address] = set()
        async with aclosing(pool.nodes.owners(pool.tag.slot)) as addresses:
            async for address in addresses:
                try:
                    pool.owner.note(await self._open_at_or_behind(address, tried), pool)
                except (RedisError, OSError) as error:
                    failed = error
                else:
                    return
        raise _as_outage(failed)

    async def _open_at_or_behind(self, address: Address, tried: set[Address]) -> Address:
        """Connects to that node, or to the one that it names instead; returns the address of the one that it was."""
        while True:
            tried.add(address)
            try:
                await self._open_in_time(address)
                return address
            except ResponseError as error:
                moved = _moved_to(error, asked=address)
                if moved is None or moved in tried:
                    raise
                address = moved

    async def _open_in_time(self, address: Address) -> None:
        """Raises redis' TimeoutError, not Python's: a node that says nothing is an outage like any other."""
        try:
            async with asyncio.timeout(WELCOME_LIMIT_S):
                await self.open_at(address)
        except builtins.TimeoutError:
            host, port = address
            raise TimeoutError(f"{host}:{port} gave no welcome within {WELCOME_LIMIT_S:g} s") from None

    async def greet(self) -> None:
        """Asks the node for a key of the slot: it may have lost it, and the node that named it not know."""
        await self.send_command("EXISTS", keys.NEVER, check_health=False)
        try:
            await self.read_response()
        except KeysAway as error:
            if not str(error).startswith("ASK "):  # the slot is on its way, and still here
                raise
        except ResponseError:
            return  # a node that is busy, or a user who may not ask: the call that comes is answered so

    def on_server(self, command: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.tag.command(command)

    def error_from_server(self, error: ResponseError) -> ResponseError:
        return KeysAway(str(error)) if str(error).startswith(KEYS_AWAY) else error

    def from_server(self, reply: Any) -> Any:
        return self.tag.reply(reply)


class ClusterTlsConnection(ClusterConnection, RenamingTlsConnection):
    """The same over TLS."""


def _as_outage(failed: Exception | None) -> Exception:
    """Why no node could be connected to; what a node answers instead of a welcome may be another answer soon."""
    if failed is None or isinstance(failed, NoPermissionError) or not isinstance(failed, ResponseError):
        return failed or SlotNotServed("no node of the cluster has the slot of the jobs")
    lost = SlotNotServed(f"no node of the cluster takes the slot of the jobs for its own: {failed}")
    lost.__cause__ = failed
    return lost


def _moved_to(error: Exception, *, asked: Address) -> Address | None:
    """Where a node says that the slot is; without a host, the asked node's."""
    moved = MOVED.match(str(error))
    return (moved["host"] or asked[0], int(moved["port"])) if moved else None


class ClusterPool(Pool):
    """Connections to the master that has the keys of one partition of an installation."""

    def __init__(self, *, tag: Tag, nodes: Nodes, owner: Owner, **options: Any) -> None:
        super().__init__(**options)
        self.tag = tag
        self.key_prefix = tag.prefix
        self.nodes = nodes
        self.owner = owner

    @classmethod
    def at(cls, url: RedisUrl, *, partition: int = 0, **limits: Any) -> Self:
        """For a `redis[s]+cluster://` URL; `limits` are options of every connection."""
        tag, of_nodes = (
            Tag(url.installation, partition),
            {**limits, "socket_timeout": REPLY_TIMEOUT_S, **url.servers.options},
        )
        return cls(
            connection_class=ClusterTlsConnection if url.servers.tls else ClusterConnection,
            tag=tag,
            nodes=Nodes(url.addresses, tls=url.servers.tls, **of_nodes),
            owner=owner_of(url.addresses, tag.slot),
            **limits,
            **url.servers.options,
        )

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "tag": self.tag, "nodes": self.nodes.copy(), "owner": self.owner}

"""Asks the nodes of a cluster which of them has a slot, as the URL and the nodes themselves name them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.cluster import parse_cluster_slots
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError, ResponseError

from errand.redis.redis_py import Pool, drop_idle_of
from errand.redis.sentinel import answers_in_turn

Address = tuple[str, int]
Slots = Mapping[tuple[int, int], Mapping[str, Any]]
"""First and last slot → `primary` and `replicas`, as `parse_cluster_slots` has them."""


REPLY_TIMEOUT_S = 1.0


UNKNOWN_HOST = "?"
"""What a node says of another whose name it has not learned yet."""


class SlotNotServed(ConnectionError):
    """No node that answers can name a master that has the slot."""


class NoCluster(SlotNotServed):
    """The servers that answer are no nodes of a cluster."""


class Nodes:
    """The nodes of one cluster, the one that answered last first."""

    def __init__(self, addresses: Iterable[Address], *, tls: bool, **options: Any) -> None:
        """`addresses`: of some of them. `options` are those of redis-py's connections."""
        self._tls = tls
        self._named = tuple(addresses)
        self._options = options
        self.clients: dict[Address, Redis] = {}
        self._know(self._named)

    async def owners(self, slot: int) -> AsyncGenerator[Address, None]:
        """Each address that they name for the master of that slot, once, as the answers come.

        Raises SlotNotServed if none of them names one.
        """
        seen: set[Address] = set()
        errors: list[BaseException] = []
        async with aclosing(answers_in_turn(self.clients.values(), _slots_of)) as answers:
            async for client, answer in answers:
                if isinstance(answer, BaseException):
                    errors.append(answer)
                    continue
                self._know([_address_of(client), *_addresses_in(answer), *self._named])
                if (owner := owner_in(answer, slot)) is not None and owner not in seen:
                    seen.add(owner)
                    yield owner
        if not seen:
            raise _error_to_raise(errors, slot)

    def copy(self) -> Self:
        """For a pool that may be used by another event loop."""
        return type(self)(self._named, tls=self._tls, **self._options)

    def _know(self, addresses: Iterable[Address]) -> None:
        """Those alone, in that order: nodes leave a cluster, too."""
        self.clients = {address: self.clients.get(address) or self._client_at(address) for address in addresses}

    def _client_at(self, address: Address) -> Redis:
        host, port = address
        kind = SSLConnection if self._tls else Connection
        return Redis(connection_pool=Pool(connection_class=kind, host=host, port=port, **self._options))


def owner_in(slots: Slots, slot: int) -> Address | None:
    """The master that has the slot; None if no node serves it, or its name is unknown."""
    for (first, last), servers in slots.items():
        if first <= slot <= last:
            host, port = servers["primary"]
            return None if host == UNKNOWN_HOST else (host, port)
    return None


async def _slots_of(node: Redis) -> Slots:
    """The slots and their servers as one node knows them.

    Its connection is not kept: one is needed so rarely that it would be stale by then.
    """
    host, port = _address_of(node)
    try:
        answer = await node.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
    except ResponseError as error:
        if "cluster support disabled" in str(error):
            raise NoCluster(
                f"{host}:{port} is no node of a cluster: let REDIS_URL begin with redis:// or rediss://"
            ) from None
        raise
    finally:
        await drop_idle_of(node)
    return parse_cluster_slots(answer, current_host=host)


def _address_of(node: Redis) -> Address:
    known = node.connection_pool.connection_kwargs
    return known["host"], known["port"]


def _addresses_in(slots: Slots) -> list[Address]:
    """Of all masters, then of all replicas."""
    masters = [servers["primary"] for servers in slots.values()]
    replicas = [replica for servers in slots.values() for replica in servers["replicas"]]
    return [(host, port) for host, port in (*masters, *replicas) if host != UNKNOWN_HOST]


def _error_to_raise(errors: list[BaseException], slot: int) -> BaseException:
    """One of all that the nodes answered: what only an operator can fix before what waiting may change."""
    for error in errors:
        if isinstance(error, AuthenticationError | NoPermissionError | NoCluster):
            return error
    why = "; ".join(map(str, errors)) or "they know of no master for it"
    lost = SlotNotServed(f"no node of the cluster knows which has slot {slot}: {why}")
    lost.__cause__ = errors[-1] if errors else None
    return lost

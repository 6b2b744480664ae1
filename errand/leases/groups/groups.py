"""The groups of one queue in Redis: which there are, and some of their jobs made due."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from redis.asyncio import Redis

from errand.leases.parked import MAX_LOOKS, MAX_PARKED
from errand.redis import script
from errand.redis.repair import repairing
from errand.wire import codec, keys
from errand.wire.records import PutBack


class Released(NamedTuple):
    """What became of the jobs of one group."""

    released: int
    left: int
    """How many are still parked; entries that mean nothing any more count too."""


class Groups:
    """Names of groups are as keys have them (`keys.group_in_key`)."""

    def __init__(self, redis: Redis, *, queue: str) -> None:
        self._redis = redis
        self._queue = queue
        self._release = script.load(redis, "leases/groups/release_groups")
        self._park_due = script.load(redis, "leases/park_due")
        self._note = script.load(redis, "leases/groups/note_group")

    async def names(self) -> list[str]:
        """Those of which some job waits. Raises redis' errors."""
        # one that another program has written is of no job
        names = await repairing(self._redis, self._queue, self._read_names)
        return [name.decode() for name in names if name.isascii()]

    async def _read_names(self) -> set[bytes]:
        names: set[bytes] = await self._redis.smembers(keys.groups(self._queue))  # type: ignore[misc]  # types both its clients
        return names

    async def release(self, room: Mapping[str, int]) -> dict[str, Released]:
        """Makes jobs of each of these groups due now, as many as there is room for. Raises redis' errors."""
        queue = self._queue
        names = [queue, keys.paused(queue), keys.wake(queue), keys.groups(queue)]
        names += [keys.in_group(queue, name) for name in room]
        arguments = [keys.events(queue), MAX_LOOKS, *(part for pair in room.items() for part in pair)]
        called = partial(self._release, keys=names, args=arguments)
        answers = await repairing(self._redis, queue, called)
        return {name: Released(*answers[at : at + 2]) for name, at in zip(room, range(0, len(answers), 2), strict=True)}

    async def note(self, group: str, note: PutBack, *, after: int) -> int:
        """Says anew why the jobs of a group wait, for those behind the first `after`, `MAX_PARKED` at most.

        Returns how many were looked at. Raises redis' errors.
        """
        names = [self._queue, keys.in_group(self._queue, group)]
        called = partial(self._note, keys=names, args=[after, MAX_PARKED, codec.dumps(note)])
        return int(await repairing(self._redis, self._queue, called))

    async def park_due(
        self, group: str, type_name: str, *, follows: str, first_s: float, apart_s: float, note: PutBack
    ) -> tuple[int, int]:
        """Parks the jobs of a group among those that are due first, without a claim, `apart_s` from each other.

        They are of that type, and have the text `follows` behind it in their bodies. Returns how many jobs were looked
        at, and how many were parked. Raises redis' errors.
        """
        queue = self._queue
        names = [queue, keys.running(queue), keys.paused(queue), keys.in_group(queue, group), keys.groups(queue)]
        spread = [MAX_PARKED, int(first_s * 1000), apart_s * 1000]
        arguments: list[str | bytes | float] = [type_name, follows, group, *spread]
        arguments += [codec.dumps(note), keys.events(queue)]
        called = partial(self._park_due, keys=names, args=arguments)
        looked, parked = await repairing(self._redis, queue, called)
        return int(looked), int(parked)

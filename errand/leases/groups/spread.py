"""The groups of one queue that is divided among partitions: jobs of a group may wait in each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from redis.asyncio import Redis

from errand.leases.groups.groups import Groups, Released
from errand.wire.records import PutBack


class SpreadGroups:
    """What `Groups` does, in all partitions."""

    def __init__(self, parts: Sequence[Groups]) -> None:
        self._parts = parts

    async def names(self) -> list[str]:
        """As `Groups.names`."""
        return list(dict.fromkeys([name for part in self._parts for name in await part.names()]))

    async def release(self, room: Mapping[str, int]) -> dict[str, Released]:
        """As `Groups.release`: one partition after the other, as far as there is room."""
        left_room, found = dict(room), {name: Released(0, 0) for name in room}
        for part in self._parts:
            # also without room: how many are left is asked of each
            for name, (released, left) in (await part.release(left_room)).items():
                left_room[name] -= released
                found[name] = Released(found[name].released + released, found[name].left + left)
        return found

    async def note(self, group: str, note: PutBack, *, after: int) -> int:
        """As `Groups.note`; returns how many were looked at in the partition that has the most."""
        return max([await part.note(group, note, after=after) for part in self._parts])

    async def park_due(
        self, group: str, type_name: str, *, follows: str, first_s: float, apart_s: float, note: PutBack
    ) -> tuple[int, int]:
        """As `Groups.park_due`."""
        all_looked = all_parked = 0
        for part in self._parts:
            looked, parked = await part.park_due(
                group, type_name, follows=follows, first_s=first_s, apart_s=apart_s, note=note
            )
            all_looked, all_parked = all_looked + looked, all_parked + parked
        return all_looked, all_parked


AnyGroups = Groups | SpreadGroups


def groups_in(clients: Sequence[Redis], *, queue: str) -> AnyGroups:
    """The groups of that queue (its key), in the partitions with these clients."""
    parts = [Groups(client, queue=queue) for client in clients]
    return parts[0] if len(parts) == 1 else SpreadGroups(parts)

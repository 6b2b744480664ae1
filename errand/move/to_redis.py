"""Moves all that Errand and Arq keep in one Redis to another: copies, compares, and only then empties the first.

It can be killed anywhere and run again. Until all is copied and compared the source is whole; one write on the source,
`moved`, is the moment from which the jobs are the target's. Before anything is removed the target has confirmed that it
keeps all of it, and all is compared once more. Until the end neither server takes work.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from arq.connections import ArqRedis
from redis.exceptions import NoPermissionError

from errand.move.confirmed import Keeping, NotConfirmed, run_id_of
from errand.move.values import PART, ask, copy_collection, copy_strings, fingerprint, in_parts
from errand.redis.cluster.partitions import most_ever
from errand.redis.redis_py import key_prefix_of
from errand.wire import keys
from errand.wire.move_record import MoveRecord

BATCH = 500
AT_ONCE = 20
"""So many lists, sets and hashes are copied side by side: each takes some round trips."""

MAX_PASSES = 10
"""The first copies all, the second compares; each further one has met a change of the source."""

OURS = (b"arq:", b"errand:")

CLIENT_NAME = "errand-move"
"""How the name of a move's connections begins; each run has one of its own."""


def new_client_name() -> str:
    return f"{CLIENT_NAME}-{secrets.token_hex(4)}"


KINDS = {
    b"arq:queue": "queues",
    b"arq:job:": "jobs that have not ended",
    b"arq:result:": "ended jobs",
    b"errand:schedule:": "schedules",
    b"errand:webhooks:endpoint:": "webhook endpoints",
}
"""How keys are counted for people, by the beginning of their names."""

Say = Callable[[str], None]


class MoveRefused(Exception):
    """Why nothing is moved, in words for the one who asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One end of the way."""

    redis: ArqRedis
    shown: str
    """Its URL without passwords."""


async def record_of(redis: ArqRedis) -> MoveRecord | None:
    """What that server says of a move. Raises ValueError for what this version cannot read."""
    text = await redis.get(keys.MOVE)
    return None if text is None else MoveRecord.parse(text)


async def is_same_server(one: ArqRedis, other: ArqRedis) -> bool:
    """True if both lead to the same database of the same server: each start of a server has an id of its own.

    False if one of them does not say.
    """
    ids = [await run_id_of(redis) for redis in (one, other)]
    return ids[0] is not None and ids[0] == ids[1] and _keys_of(one) == _keys_of(other)


def _keys_of(redis: ArqRedis) -> tuple[int, str]:
    """The database, and in a cluster the prefix: what an installation's keys have in common."""
    return _db_of(redis), key_prefix_of(redis)


def _db_of(redis: ArqRedis) -> int:
    return int(redis.connection_pool.connection_kwargs.get("db") or 0)


async def _write(redis: ArqRedis, record: MoveRecord) -> None:
    await redis.set(keys.MOVE, record.dumps())


class Move:
    """The move from one server to another."""

    def __init__(
        self,
        source: Server,
        target: Server,
        *,
        beside_other_data: bool = False,
        ignore_connections: bool = False,
        say: Say,
    ) -> None:
        """`beside_other_data`: the target may hold keys of other programs. `say` is given a line for each step.

        `ignore_connections`: others may be connected to the source; what they write from now on may be lost.
        """
        self._source = source
        self._target = target
        self._beside_other_data = beside_other_data
        self._ignore_connections = ignore_connections
        self._say = say
        self._source_keeps, self._target_keeps = Keeping(source.redis), Keeping(target.redis)
        self._confirmed: str | None = ""
        """The target's run id when it last confirmed that it keeps what was copied; empty if more was copied since."""

    async def run(self) -> None:
        """Moves everything, or what an earlier run has left to move. Raises MoveRefused, and redis' errors."""
        await self._check_no_other_move()
        record = await self._started()
        await self._check_alone()
        await self._source_keeps.look()
        await self._target_keeps.look()
        if record.state == "copying":
            counts = await self._copy(record.move_id, self._check_goes_on)
            self._account(counts)
            await self._check_alone()
        await self._confirm(self._source, self._source_keeps, MoveRecord(record.move_id, "moved", self._target.shown))
        removed = await self._empty_source(record.move_id)
        self._say(f"done: {removed:,} keys removed from {self._source.shown}, which starts no API and no worker now")

    async def cancel(self) -> None:
        """Gives up a move that has not been completed: the source works again. Raises MoveRefused."""
        await self._check_no_other_move()
        record = await record_of(self._source.redis)
        if record is None or record.state != "copying":
            raise MoveRefused("there is no unfinished move here that could be cancelled")
        await self._source.redis.delete(keys.MOVE)
        self._say(f"cancelled: {self._source.shown} has all of its jobs; what {record.other} has of them is of no use")

    # --- before

    async def _started(self) -> MoveRecord:
        """The source's record of this move, of an earlier run if there was one; the target has its own."""
        if await is_same_server(self._source.redis, self._target.redis):
            raise MoveRefused(f"{self._source.shown} and {self._target.shown} are the same database of one server")
        await self._check_partitions()
        record = await record_of(self._source.redis)
        if record is None:
            record = MoveRecord(secrets.token_hex(8), "copying", self._target.shown)
            await self._check_target(record.move_id)
            await _write(self._source.redis, record)
        elif record.state == "coming" or record.other != self._target.shown:
            raise MoveRefused(f"{self._source.shown}: {record.in_words}")
        else:
            self._say("going on with a move that was interrupted")
        if record.state == "copying":
            await self._check_target(record.move_id)
            await _write(self._target.redis, MoveRecord(record.move_id, "coming", self._source.shown))
        return record

    async def _check_partitions(self) -> None:
        """Raises MoveRefused if the source's jobs lie in several partitions, of which this would move the first."""
        number = await most_ever(self._source.redis)
        if number > 1:
            raise MoveRefused(
                f"{self._source.shown} has had {number} partitions (QUEUE_PARTITIONS), and a move takes one: let their "
                "jobs end there, while new ones go to the other Redis"
            )

    async def _check_target(self, move_id: str) -> None:
        """Raises MoveRefused if the target holds what this move has not brought there."""
        there = await record_of(self._target.redis)
        if there is not None and there.move_id == move_id:
            return
        own, others = 0, 0
        async for batch in _scan(self._target.redis):
            own += sum(key.startswith(OURS) and key != keys.MOVE.encode() for key in batch)
            others += sum(not key.startswith(OURS) for key in batch)
        if own:
            raise MoveRefused(f"{self._target.shown} has {own:,} keys of Errand or Arq: two queues cannot be made one")
        if others and not self._beside_other_data:
            raise MoveRefused(
                f"{self._target.shown} has {others:,} keys of others: to put ours there, --beside-other-data"
            )

    async def _check_alone(self) -> None:
        """Raises MoveRefused if somebody else is connected to the source's database, as an API or a worker is."""
        if self._ignore_connections:
            return
        others = await self._others()
        if others is None:
            raise MoveRefused(
                "the source does not say who is connected to it: stop API and workers, then --ignore-connections"
            )
        if others:
            raise MoveRefused(
                f"{len(others)} others are connected to {self._source.shown}: stop API, workers and all that puts jobs"
            )

    async def _check_no_other_move(self) -> None:
        """Raises MoveRefused if another run of this program is connected to the source, as far as that can be seen.

        What one of two has removed from the source, once all was moved, the other would remove from the target.
        """
        if any(name.startswith(CLIENT_NAME) for name in await self._others() or ()):
            raise MoveRefused(f"another 'errand move' is connected to {self._source.shown}: wait for its end")

    async def _others(self) -> list[str] | None:
        """The names of all other connections to the source's database; None if it does not say who is connected."""
        redis = self._source.redis
        try:
            clients = await redis.client_list()
        except NoPermissionError:
            return None
        own, db = redis.connection_pool.connection_kwargs.get("client_name"), str(_db_of(redis))
        return [
            client["name"]
            for client in clients
            if client["name"] != own and client["db"] == db and not set(client["flags"]) & set("MS")
        ]

    # --- the copy

    async def _copy(self, move_id: str, check_goes_on: Callable[[str], Awaitable[None]]) -> Counter[str]:
        """Copies until a look at all keys finds each the same on both sides, and the target has confirmed that it keeps
        them; returns how many there are, by kind.

        Raises MoveRefused if it has not, and what `check_goes_on` raises before anything is written.
        """
        for _ in range(MAX_PASSES):
            run_id = await run_id_of(self._target.redis)
            counts, copied = await self._look_once(move_id, check_goes_on)
            if not copied and await self._is_kept(move_id, run_id):
                return counts
        raise MoveRefused(f"{self._source.shown} keeps changing: stop all that puts or runs jobs, then go on")

    async def _look_once(
        self, move_id: str, check_goes_on: Callable[[str], Awaitable[None]]
    ) -> tuple[Counter[str], int]:
        """Copies what differs; returns how many keys there are, by kind, and how many of them were copied."""
        counts, copied, copied_bytes = Counter[str](), 0, 0
        async for batch in _ours(self._source.redis):
            different = await self._different(batch)
            await check_goes_on(move_id)
            copied_bytes += await self._copy_keys(different)
            copied += len(different)
            counts.update(map(_kind_of, batch))
        if copied:
            self._confirmed = ""
            self._say(f"copied {copied:,} keys, {copied_bytes:,} bytes; comparing")
        elif check_goes_on == self._check_goes_on:
            await self._remove_what_the_source_has_not(move_id)
        return counts, copied

    async def _is_kept(self, move_id: str, run_id: str | None) -> bool:
        """True if the target keeps what was compared; False if it is not the server any more that had it then."""
        if self._confirmed == run_id:
            return True
        await self._confirm(self._target, self._target_keeps, MoveRecord(move_id, "coming", self._source.shown))
        if await run_id_of(self._target.redis) != run_id:
            return False
        self._confirmed = run_id
        return True

    async def _confirm(self, server: Server, keeps: Keeping, record: MoveRecord) -> None:
        try:
            await keeps.confirm(record)
        except NotConfirmed as error:
            raise MoveRefused(f"{server.shown}: {error}") from None

    async def _different(self, batch: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those keys that the target has not as the source has them, and their types."""
        kinds = await ask(self._source.redis, [("TYPE", key) for key in batch])
        there = await ask(self._target.redis, [("TYPE", key) for key in batch])
        strings = [key for key, kind, other in zip(batch, kinds, there, strict=True) if kind == other == b"string"]
        same = {key async for key in self._same_strings(strings)}
        different = {}
        for key, kind, other in zip(batch, kinds, there, strict=True):
            if kind == b"none" or key in same:
                continue
            # a stream may be there and empty, which no copy of it is
            may_be_same = other == kind != b"string" or (kind == b"stream" and other == b"none")
            if not may_be_same or not await self._is_same(key, kind):
                different[key] = kind
        return different

    async def _same_strings(self, strings: Sequence[bytes]) -> AsyncIterator[bytes]:
        """Those that both have, or that have expired."""
        async for part in in_parts(self._source.redis, strings):
            mine = await ask(self._source.redis, [("GET", key) for key in part])
            its = await ask(self._target.redis, [("GET", key) for key in part])
            for key, one, other in zip(part, mine, its, strict=True):
                if one in (other, None):
                    yield key

    async def _is_same(self, key: bytes, kind: bytes) -> bool:
        one, other = await asyncio.gather(
            fingerprint(self._source.redis, key, kind), fingerprint(self._target.redis, key, kind)
        )
        return one == other

    async def _copy_keys(self, kinds: dict[bytes, bytes]) -> int:
        strings = [key for key, kind in kinds.items() if kind == b"string"]
        copied = await copy_strings(self._source.redis, self._target.redis, strings)
        gate = asyncio.Semaphore(AT_ONCE)

        async def copy(key: bytes, kind: bytes) -> int:
            async with gate:
                return await copy_collection(self._source.redis, self._target.redis, key, kind)

        others = [copy(key, kind) for key, kind in kinds.items() if kind != b"string"]
        return copied + sum(await asyncio.gather(*others))

    async def _check_goes_on(self, move_id: str) -> None:
        """Raises MoveRefused unless the source, when this was called, still had what this move is to copy."""
        record = await record_of(self._source.redis)
        if record is None or (record.move_id, record.state) != (move_id, "copying"):
            raise MoveRefused("another 'errand move' has completed this move, or cancelled it")

    async def _check_is_coming(self, move_id: str) -> None:
        """Raises MoveRefused unless the target, when this was called, still took no work of its own."""
        if not await self._is_coming(move_id):
            raise MoveRefused("another 'errand move' has completed this move")

    async def _is_coming(self, move_id: str) -> bool:
        there = await record_of(self._target.redis)
        return there is not None and there.move_id == move_id

    async def _remove_what_the_source_has_not(self, move_id: str) -> None:
        """An earlier run may have copied what has ended since, and parts of what it did not get to the end of."""
        async for batch in _ours(self._target.redis, parts=True):
            known = await ask(self._source.redis, [("EXISTS", key) for key in batch])
            extra = [key for key, exists in zip(batch, known, strict=True) if not exists]
            # asked after the keys: a source that has been emptied says so
            await self._check_goes_on(move_id)
            await ask(self._target.redis, [("DEL", key) for key in extra])

    def _account(self, counts: Counter[str]) -> None:
        self._say(f"each of {counts.total():,} keys is the same on both sides:")
        for line in in_lines(sorted(counts.items())):
            self._say(line)

    # --- after

    async def _empty_source(self, move_id: str) -> int:
        """Removes all from the source, and lets the target work; returns how many keys that were.

        All is compared once more before: a target that has failed over since may not have all of it, and a process that
        was connected for a moment may have written to the source. Not once the target may work: what it has is newer.
        """
        is_coming = await self._is_coming(move_id)
        if is_coming:
            await self._copy(move_id, self._check_is_coming)
        removed = await self._remove_all()
        if is_coming:
            await self._target.redis.delete(keys.MOVE)
        return removed

    async def _remove_all(self) -> int:
        """Queues first: a worker of an old version, which reads no record, finds nothing to run."""
        removed = 0
        for queues_only in (True, False):
            async for batch in _ours(self._source.redis):
                chosen = [key for key in batch if not queues_only or _kind_of(key) == "queues"]
                removed += sum(await ask(self._source.redis, [("DEL", key) for key in chosen]))
        return removed


async def _ours(redis: ArqRedis, *, parts: bool = False) -> AsyncIterator[list[bytes]]:
    """The names of all keys of Errand and Arq, without the record of the move; unfinished parts only if asked for."""
    async for batch in _scan(redis):
        own = [key for key in batch if key.startswith(OURS) and key != keys.MOVE.encode()]
        yield [key for key in own if parts or not key.startswith(PART)]


async def _scan(redis: ArqRedis) -> AsyncIterator[list[bytes]]:
    cursor = b"0"
    while True:
        ((cursor, batch),) = await ask(redis, [("SCAN", cursor, "COUNT", BATCH)])
        yield list(dict.fromkeys(batch))
        if cursor == b"0":
            return


def _kind_of(key: bytes) -> str:
    return next((kind for start, kind in KINDS.items() if key.startswith(start)), "other keys")


def in_lines(counts: Iterable[tuple[str, int]]) -> list[str]:
    """A line for each."""
    return [f"  {number:>9,} {what}" for what, number in counts]

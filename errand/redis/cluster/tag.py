"""Puts an installation's hash tag before the keys and channels of commands, and takes it off those of replies.

Here and not where keys are named: what is inherited from Arq names keys by itself, and so do jobs that use Redis. Names
in scripts get it by `tagged.lua`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from errand.wire import keys

Command = tuple[Any, ...]
"""A command's name and its arguments, as redis-py is given them."""


SPREAD = 3
"""The fewest masters that a cluster has. Its first 3, 9, 27 partitions lie evenly on as many masters, or on 3."""


CANDIDATES = 1_024
"""Names that a partition may have: one of them lies within some slots of where it should be."""


class Tag:
    """The hash tag of one partition of an installation. That of partition 0 is the installation's name."""

    def __init__(self, installation: str, partition: int = 0) -> None:
        self.prefix = keys.cluster_prefix(_name_of(installation, partition))
        self._bytes = self.prefix.encode()
        self.slot = key_slot(self._bytes)

    def command(self, command: Command) -> Command:
        """The command with the tag before its keys and channels.

        One that this does not know is taken to have one key, its first argument. If it has more, the cluster refuses
        it (CROSSSLOT) and does nothing.
        """
        return _way_of(command[0])(self, command)

    def reply(self, reply: Any) -> Any:
        """The reply without the tag: no value begins like it, a name does."""
        if type(reply) is not list:
            return reply
        if len(reply) == 2 and type(reply[1]) is list and type(reply[0]) is bytes:
            return [reply[0], self.reply(reply[1])]  # of SCAN
        cut, start = len(self._bytes), self._bytes
        return [part[cut:] if type(part) is bytes and part.startswith(start) else part for part in reply]

    def named(self, name: Any) -> str | bytes:
        """A key or channel as the cluster has it."""
        return self._bytes + name if isinstance(name, bytes) else f"{self.prefix}{name}"

    def all_named(self, names: Command) -> Command:
        return tuple(map(self.named, names))


@cache
def _name_of(installation: str, partition: int) -> str:
    """The name whose slot is nearest to the partition's share of the slots, counted from the slot of partition 0.

    A slash is in no installation's name.
    """
    if partition == 0:
        return installation
    first = key_slot(keys.cluster_prefix(installation).encode())
    share = (first + int(_share(partition) * REDIS_CLUSTER_HASH_SLOTS)) % REDIS_CLUSTER_HASH_SLOTS

    def distance(name: str) -> int:
        return abs(key_slot(keys.cluster_prefix(name).encode()) - share)

    return min((f"{installation}/{partition}.{number}" for number in range(CANDIDATES)), key=distance)


def _share(partition: int) -> float:
    """1/3, 2/3, 1/9, 4/9, 7/9, 2/9, …: van der Corput's sequence, which stays even as more partitions come."""
    share, part = 0.0, 1.0
    while partition:
        partition, digit = divmod(partition, SPREAD)
        part /= SPREAD
        share += digit * part
    return share


def _first(tag: Tag, command: Command) -> Command:
    return (command[0], tag.named(command[1]), *command[2:]) if len(command) > 1 else command


def _none(tag: Tag, command: Command) -> Command:
    return command


def _all(tag: Tag, command: Command) -> Command:
    return (command[0], *tag.all_named(command[1:]))


def _all_but_last(tag: Tag, command: Command) -> Command:
    return (command[0], *tag.all_named(command[1:-1]), command[-1])


def _two(tag: Tag, command: Command) -> Command:
    return (command[0], *tag.all_named(command[1:3]), *command[3:])


def _each_second(tag: Tag, command: Command) -> Command:
    return (command[0], *(tag.named(part) if at % 2 == 0 else part for at, part in enumerate(command[1:])))


def _second(tag: Tag, command: Command) -> Command:
    return (*command[:2], *tag.all_named(command[2:3]), *command[3:])


def _of_script(tag: Tag, command: Command) -> Command:
    """A key more, which exists nowhere: while the slot moves, a node then refuses the call before the script begins.

    Else one could begin that finds all of its keys, and fail in its midst at a job's key that has moved.
    """
    name, text, number, *rest = command
    named = tag.all_named(tuple(rest[: int(number)]))
    return (name, text, int(number) + 1, *named, tag.named(keys.NEVER), *rest[int(number) :])


def _of_scan(tag: Tag, command: Command) -> Command:
    """The keys of the installation alone: a master has those of others, too."""
    parts = list(command)
    for at, part in enumerate(parts[2:], 2):
        if part in ("MATCH", b"MATCH"):
            parts[at + 1] = tag.named(parts[at + 1])
            return tuple(parts)
    return (*parts, "MATCH", tag.named("*"))


def _of_streams(tag: Tag, command: Command) -> Command:
    at = next(at for at, part in enumerate(command) if part in ("STREAMS", b"STREAMS")) + 1
    half = (len(command) - at) // 2
    return (*command[:at], *tag.all_named(command[at : at + half]), *command[at + half :])


WAYS: dict[Callable[[Tag, Command], Command], str] = {
    _none: """
        ACL ASKING AUTH BGREWRITEAOF BGSAVE CLIENT CLUSTER COMMAND CONFIG DBSIZE DEBUG DISCARD ECHO EXEC FAILOVER
        FLUSHALL FLUSHDB FUNCTION HELLO INFO LASTSAVE LATENCY MODULE MULTI PING QUIT READONLY READWRITE REPLICAOF RESET
        ROLE SAVE SCRIPT SELECT SHUTDOWN SLOWLOG TIME UNWATCH WAIT WAITAOF
    """,
    _all: """
        DEL EXISTS KEYS MGET PFCOUNT PFMERGE PSUBSCRIBE PUNSUBSCRIBE SDIFF SDIFFSTORE SINTER SINTERSTORE SSUBSCRIBE
        SUBSCRIBE SUNION SUNIONSTORE SUNSUBSCRIBE TOUCH UNLINK UNSUBSCRIBE WATCH
    """,
    _all_but_last: "BLPOP BRPOP BZPOPMAX BZPOPMIN",
    _two: "BLMOVE BRPOPLPUSH COPY LMOVE RENAME RENAMENX RPOPLPUSH SMOVE ZRANGESTORE",
    _each_second: "MSET MSETNX",
    _second: "MEMORY OBJECT XGROUP XINFO",
    _of_script: "EVAL EVALSHA EVALSHA_RO EVAL_RO FCALL FCALL_RO",
    _of_scan: "SCAN",
    _of_streams: "XREAD XREADGROUP",
}


@cache
def _way_of(name: str | bytes) -> Callable[[Tag, Command], Command]:
    word = (name.decode() if isinstance(name, bytes) else name).partition(" ")[0].upper()
    return next((way for way, words in WAYS.items() if word in words.split()), _first)

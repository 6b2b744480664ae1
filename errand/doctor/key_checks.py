"""Keys that keep all jobs from running: those that another program has written over, and the record of a move.

The doctor names them, and removes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from arq.connections import ArqRedis

from errand.doctor.server_checks import Finding
from errand.wire import keys
from errand.wire.move_record import MoveRecord

MAX_NAMED = 5


async def check_move(redis: ArqRedis) -> list[Finding]:
    """Whether the jobs there are moved to another server, or from another one to it."""
    (text,) = await redis.mget([keys.MOVE])  # not GET: another program may have made something else of it
    try:
        record = None if text is None else MoveRecord.parse(text)
    except ValueError:
        record = None
    if record is None:
        return []
    return [
        Finding(
            check="move",
            level="warning",
            found=record.in_words,
            risk="nothing is lost; here no job is accepted (503), and none is started",
            fix="end the move, or give it up; of a server that is to be used anew, delete the key errand:move",
        )
    ]


async def check_keys(redis: ArqRedis, queues: Iterable[str]) -> list[Finding]:
    """Keys of those queues (their names), and of all queues, that have a type which Errand does not give them."""
    expected = {keys.MOVE: "string", keys.PARTITIONS: "zset"}
    for name in queues:
        expected |= keys.types(keys.queue(name))
    async with redis.pipeline(transaction=False) as pipeline:
        for key in expected:
            pipeline.type(key)
        kinds = [kind.decode() for kind in await pipeline.execute()]
    wrong = [
        f"{key} is a {kind}, not a {right}"
        for (key, right), kind in zip(expected.items(), kinds, strict=True)
        if kind not in (right, "none")
    ]
    return [_finding(wrong)] if wrong else []


def _finding(wrong: Sequence[str]) -> Finding:
    more = f", and {len(wrong) - MAX_NAMED} more" if len(wrong) > MAX_NAMED else ""
    return Finding(
        check="keys",
        level="warning",
        found=f"another program has written over keys of Errand: {', '.join(wrong[:MAX_NAMED])}{more}",
        risk="what they held is lost; API and workers remove such a key when they come upon it, and go on",
        fix="find out which program writes to arq:* or errand:* in this Redis, and give it another database or server",
    )

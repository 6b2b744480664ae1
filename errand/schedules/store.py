"""The schedules that Redis keeps: put, read, pause, resume, remove. What becomes of their times, the ticker says."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog
from redis.asyncio import Redis

from errand.job.schedule import Schedule
from errand.redis import script
from errand.redis.rows import rows_of
from errand.wire import keys

log = structlog.get_logger("errand.schedules")


Source = Literal["code", "http"]


PutAnswer = Literal["created", "replaced", "unchanged", "other source", "full"]


MAX_SCHEDULES = 1_000
"""They are for recurring work of the house; a time per customer is a job with `run_at`."""


DEFINITION_LIMIT_BYTES = 64 * 1024


NEVER = "+inf"


FAR_MS = 86_400_000
"""No schedule waits for so much longer than until its next time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """A time of a schedule that became a job. Times are ms since the epoch."""

    due_ms: int
    fired_ms: int
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSchedule:
    """A schedule as Redis has it. Times are ms since the epoch."""

    id: str
    type: str
    schedule: Schedule
    source: Source
    revision: str
    """Another one with each definition."""
    paused: bool
    next_ms: int | None
    """None while it is paused, or if its expression names no time any more."""
    last_fire: Fire | None
    last_missed_ms: int | None
    """The last time that was passed over, or made up for, because no worker was there."""
    problem: str | None
    """Why its last time became no job."""
    created_ms: int
    updated_ms: int

    @property
    def coming_ms(self) -> list[int]:
        """Its next five times."""
        if self.next_ms is None:
            return []
        return [self.next_ms, *self.schedule.following(self.next_ms, number=4)]


class Schedules:
    """All schedules of one Redis, for the jobs of all queues."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._put = script.load(redis, "schedules/put")
        self._change = script.load(redis, "schedules/change")

    async def put(self, schedule_id: str, type_name: str, schedule: Schedule, *, source: Source) -> PutAnswer:
        """Keeps it under that id, and replaces another from the same source. Its first time is counted from now.

        Raises ValueError if its args are too large.
        """
        definition = schedule.definition(type_name)
        if len(definition) > DEFINITION_LIMIT_BYTES:
            raise ValueError(f"has {len(definition)} bytes, over the limit of {DEFINITION_LIMIT_BYTES} for a schedule")
        answer: bytes = await self._put(
            keys=[keys.SCHEDULES, keys.schedule(schedule_id)],
            args=[
                schedule_id,
                definition,
                source,
                secrets.token_hex(8),
                _score(schedule.next_after(await self.now_ms())),
                MAX_SCHEDULES,
                keys.SCHEDULES_CHANGED,
            ],
        )
        return answer.decode()  # type: ignore[return-value]  # the script's five answers

    async def read(self, schedule_id: str) -> KeptSchedule | None:
        """The schedule of that id; None if there is none."""
        found = await self._read_each([schedule_id])
        return found[0] if found else None

    async def page(self, *, after: str = "", most: int) -> tuple[list[KeptSchedule], str | None]:
        """Up to so many in the order of their ids, those behind the id `after`; and that id for the next page."""
        ids = sorted(name.decode(errors="replace") for name in await self._redis.zrange(keys.SCHEDULES, 0, -1))
        behind = [schedule_id for schedule_id in ids if schedule_id > after]
        here = behind[:most]
        return await self._read_each(here), here[-1] if len(behind) > most else None

    async def all(self) -> list[KeptSchedule]:
        """Every one, in the order of their ids."""
        kept, _ = await self.page(most=MAX_SCHEDULES)
        return kept

    async def pause(self, schedule_id: str) -> KeptSchedule | None:
        """Its times pass without a job until it is resumed. Returns it as it is then; None if there is none."""
        return await self._changed(schedule_id, "pause")

    async def resume(self, schedule_id: str) -> KeptSchedule | None:
        """Ends a pause; the times that passed meanwhile are not made up for."""
        return await self._changed(schedule_id, "resume")

    async def bring_back(self) -> list[str]:
        """Counts anew, from now, what would come more than a day after its next time; returns the ids.

        The server's clock was set back, from a time that it was never to have. After a smaller step the next time
        stays: none comes twice.
        """
        now_ms, brought = await self.now_ms(), []
        for kept in await self.all():
            next_ms = kept.schedule.next_after(now_ms)
            if next_ms is None or kept.next_ms is None or kept.next_ms - next_ms <= FAR_MS:
                continue
            if await self._change_once(kept, "bring back", next_ms):
                brought.append(kept.id)
        return brought

    async def remove(self, kept: KeptSchedule) -> bool:
        """False if it has been changed or removed since it was read. Jobs that it put stay."""
        return await self._change_once(kept, "remove", NEVER)

    async def now_ms(self) -> int:
        """The server's clock, which decides here."""
        seconds, micros = await self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def _changed(self, schedule_id: str, change: Literal["pause", "resume"]) -> KeptSchedule | None:
        while (kept := await self.read(schedule_id)) is not None:
            next_ms = NEVER if change == "pause" else _score(kept.schedule.next_after(await self.now_ms()))
            if await self._change_once(kept, change, next_ms):
                return await self.read(schedule_id)
        return None

    async def _change_once(self, kept: KeptSchedule, change: str, next_ms: int | str) -> bool:
        done: int = await self._change(
            keys=[keys.SCHEDULES, keys.schedule(kept.id)],
            args=[kept.id, kept.revision, change, next_ms, keys.SCHEDULES_CHANGED],
        )
        return bool(done)

    async def _read_each(self, ids: Sequence[str]) -> list[KeptSchedule]:
        async with self._redis.pipeline(transaction=True) as transaction:
            for schedule_id in ids:
                transaction.hgetall(keys.schedule(schedule_id))
                transaction.zscore(keys.SCHEDULES, schedule_id)
            answers = await transaction.execute()
        found = [(id_, *row) for id_, row in zip(ids, rows_of(answers, 2), strict=True)]
        kept = (_kept(schedule_id, fields, score) for schedule_id, fields, score in found if fields)
        return [schedule for schedule in kept if schedule is not None]


def _score(next_ms: int | None) -> int | str:
    return NEVER if next_ms is None else next_ms


def _kept(schedule_id: str, raw: Mapping[bytes, bytes], score: float | None) -> KeptSchedule | None:
    """From its hash and its score in the index; None, said so in the log, if it cannot be read."""
    fields = {name.decode(errors="replace"): value for name, value in raw.items()}
    try:
        return _schedule_from(schedule_id, fields, score)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        log.warning("a schedule cannot be read and is left out", schedule=schedule_id, error=repr(error))
        return None


def _schedule_from(schedule_id: str, fields: Mapping[str, bytes], score: float | None) -> KeptSchedule:
    type_name, schedule = Schedule.from_definition(fields["definition"])
    return KeptSchedule(
        id=schedule_id,
        type=type_name,
        schedule=schedule,
        source="code" if fields["source"] == b"code" else "http",
        revision=fields["revision"].decode(),
        paused="paused" in fields,
        next_ms=None if score is None or math.isinf(score) else int(score),
        last_fire=_fire_in(fields["fire"]) if "fire" in fields else None,
        last_missed_ms=int(fields["missed_ms"]) if "missed_ms" in fields else None,
        problem=fields["problem"].decode() if "problem" in fields else None,
        created_ms=int(fields["created_ms"]),
        updated_ms=int(fields["updated_ms"]),
    )


def _fire_in(field: bytes) -> Fire:
    due_ms, fired_ms, job_id = field.decode().split(" ", 2)
    return Fire(due_ms=int(due_ms), fired_ms=int(fired_ms), job_id=job_id)

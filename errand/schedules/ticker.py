"""Fires schedules: makes jobs of their times, each once, however many workers tick and whenever one of them dies.

A tick asks Redis which times have come, by the server's clock. For each it works out the next one, and one script call
puts the job and moves the schedule on, if nobody has done so. Between ticks the ticker sleeps until the next time there
is; a change of a schedule wakes it. That is a hint: it looks every few seconds anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from errand.job.job_type import JobType
from errand.job.schedule import Schedule, Turn, job_id_of
from errand.redis import script
from errand.redis.outage import Outage, is_outage
from errand.redis.repair import repair
from errand.schedules.store import FAR_MS, NEVER, Schedules
from errand.wire import codec, keys
from errand.wire.limits import PRIORITY

log = structlog.get_logger("errand.schedules")


POLL_S = 15.0


STOP_AGAIN_S = 1.0


MAX_DUE = 100
"""Schedules that one look brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A schedule whose time has come."""

    id: str
    due_ms: int
    revision: str
    definition: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at the times of all schedules brought. Times are ms since the epoch."""

    now_ms: int
    next_ms: int | None
    """When the first comes of those that are not due yet; None if there is none."""
    due: Sequence[Due]
    unreadable: int = 0
    """How many more are due, in which no text stands: another program has written them."""


FULL = 2
"""The script's answer if it put no job because the queue holds as many as it may."""


class Ticker:
    """Fires the schedules of the job types that this process knows, and leaves others to processes that know those."""

    def __init__(
        self,
        redis: Redis,
        job_types: Mapping[str, JobType[Any, Any]],
        *,
        poll_s: float = POLL_S,
        queue_limit: int = 0,
    ) -> None:
        """`queue_limit`: how many unfinished jobs a queue may hold for a schedule that heeds it; 0 without a limit."""
        self._redis = redis
        self._queue_limit = queue_limit
        self._job_types = job_types
        self._poll_s = poll_s
        self._schedules = Schedules(redis)
        self._due = script.load(redis, "schedules/due")
        self._turn = script.load(redis, "schedules/fire")
        self._left: set[tuple[str, str]] = set()
        """What was left to others, by id and revision: it is said once."""
        self._outage = Outage()
        self._seen_ms = 0
        """The server's clock at the last look."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ticks in the background for as long as the block lasts."""
        ticking = asyncio.create_task(self._run())
        try:
            yield
        finally:
            # again if it had no effect: asyncio.wait_for in Python 3.11, inside redis-py, can swallow a cancellation
            while not ticking.done():
                ticking.cancel()
                await asyncio.wait({ticking}, timeout=STOP_AGAIN_S)

    async def register(self) -> None:
        """Makes the schedules kept those that the code defines, as far as this process knows their types."""
        in_code = {
            str(schedule.id): (name, schedule)
            for name, job_type in self._job_types.items()
            for schedule in job_type.schedules
        }
        for schedule_id, (type_name, schedule) in in_code.items():
            try:
                answer = await self._schedules.put(schedule_id, type_name, schedule, source="code")
            except ValueError as error:  # too large; the others are kept
                log.error("a schedule of the code is not kept", schedule=schedule_id, type=type_name, reason=str(error))
                continue
            if answer in ("other source", "full"):
                reason = "its id is taken by one made over HTTP" if answer == "other source" else "there are too many"
                log.error("a schedule of the code is not kept", schedule=schedule_id, type=type_name, reason=reason)
            elif answer != "unchanged":
                log.info("schedule of the code kept", schedule=schedule_id, type=type_name, change=answer)
        await self._bring_back()
        for kept in await self._schedules.all():
            if kept.source == "code" and kept.type in self._job_types and kept.id not in in_code:
                log.info("schedule removed: the code has it no more", schedule=kept.id, type=kept.type)
                await self._schedules.remove(kept)

    async def _bring_back(self) -> None:
        """Has those go on that were moved on while the server's clock was far ahead: nobody else would notice."""
        for schedule_id in await self._schedules.bring_back():
            log.warning("a schedule counts anew: the clock of Redis was set back", schedule=schedule_id)

    async def tick(self, *, now_ms: int | None = None) -> int | None:
        """Takes the turns of all schedules that are due; returns the ms until the next is due, None if none will be.

        The server's clock decides; `now_ms` (ms since the epoch) stands in for it.
        """
        left = 0
        while True:
            look = await self.look(pass_over=left, now_ms=now_ms)
            if look.now_ms < self._seen_ms - FAR_MS:
                await self._bring_back()
            self._seen_ms = look.now_ms
            left += look.unreadable
            for due in look.due:
                left += not await self._take_turn_safely(due, now_ms=look.now_ms)
            if not look.due and not look.unreadable:
                return None if look.next_ms is None else look.next_ms - look.now_ms

    async def _take_turn_safely(self, due: Due, *, now_ms: int) -> bool:
        """`take_turn`, but one schedule's fault does not hold up the others; it is tried again with the next poll."""
        try:
            return await self.take_turn(due, now_ms=now_ms)
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("a schedule's time could become no job", schedule=due.id)
            return False

    async def _run(self) -> None:
        registered = False
        async with self._redis.pubsub(ignore_subscribe_messages=True) as changes:
            while True:
                try:
                    if not registered:
                        await self.register()
                        registered = True
                    if not changes.subscribed:
                        # before the tick: a change after it will be noticed
                        await changes.subscribe(keys.SCHEDULES_CHANGED)
                    due_in_ms = await self.tick()
                    self._outage.note_end()
                    rest_s = self._poll_s if due_in_ms is None else min(due_in_ms / 1000, self._poll_s)
                    await changes.get_message(timeout=rest_s)
                except Exception as error:
                    if is_outage(error):
                        await self._outage.wait_out(error)
                    else:
                        log.exception("a tick failed")
                        with contextlib.suppress(RedisError):
                            await repair(self._redis, keys.queue(keys.DEFAULT_QUEUE))
                        await asyncio.sleep(self._poll_s)

    async def look(self, *, pass_over: int = 0, now_ms: int | None = None) -> Look:
        """The schedules that are due, up to a hundred behind the first `pass_over`."""
        now, coming, due = await self._due(
            keys=[keys.SCHEDULES], args=["" if now_ms is None else now_ms, pass_over, MAX_DUE]
        )
        readable = [each for each in map(_due_in, due) if each is not None]
        return Look(
            now_ms=int(now),
            next_ms=int(coming) if coming else None,
            due=readable,
            unreadable=len(due) - len(readable),
        )

    async def take_turn(self, due: Due, *, now_ms: int) -> bool:
        """Decides on the time that has come and writes it; False if that is left to another process."""
        try:
            type_name, schedule = Schedule.from_definition(due.definition)
            job_type = self._job_types[type_name]
        except (ValueError, KeyError) as error:
            self._leave(due, error)
            return False
        turn = schedule.turn(due_ms=due.due_ms, now_ms=now_ms)
        problem = _problem_of(job_type, schedule) if turn.runs else ""
        runs = turn.runs and not problem
        job_id = job_id_of(due.id, due.due_ms)
        written = await self._write(
            due,
            turn,
            now_ms=now_ms,
            problem=problem,
            job_id=job_id if runs else "",
            body=_body(job_type, schedule, now_ms=now_ms),
            job_due_ms=schedule.job_due_ms(job_id, due.due_ms),
            queue=keys.queue(schedule.queue or job_type.queue),
            limit=self._queue_limit if schedule.enforce else 0,
        )
        if written:
            _say(due, turn, now_ms=now_ms, problem="its queue is full" if written == FULL else problem)
        return True

    async def _write(
        self,
        due: Due,
        turn: Turn,
        *,
        now_ms: int,
        problem: str,
        job_id: str,
        body: bytes,
        job_due_ms: int,
        queue: str,
        limit: int,
    ) -> int:
        """Writes what becomes of the time, with no job if the id is empty; 0 if another worker had written it."""
        written: int = await self._turn(
            keys=[
                keys.SCHEDULES,
                keys.schedule(due.id),
                queue,
                keys.wake(queue),
                keys.body(job_id),
                keys.result(job_id),
            ],
            args=[
                due.id,
                due.due_ms,
                due.revision,
                NEVER if turn.next_ms is None else turn.next_ms,
                now_ms,
                int(turn.missed),
                problem,
                job_id,
                body,
                job_due_ms,
                keys.events(queue),
                limit,
            ],
        )
        return written

    def _leave(self, due: Due, error: Exception) -> None:
        if (due.id, due.revision) not in self._left:
            self._left.add((due.id, due.revision))
            reason = "no job type of this worker" if isinstance(error, KeyError) else "cannot be read"
            log.warning("a schedule is left to other workers", schedule=due.id, reason=reason, error=str(error))


def _due_in(row: Sequence[bytes]) -> Due | None:
    """None, said so in the log, for one that another program has written: it must not hold up the others."""
    name, at_ms, revision, definition = row
    try:
        return Due(id=name.decode(), due_ms=int(at_ms), revision=revision.decode(), definition=definition)
    except UnicodeDecodeError:
        log.error("a schedule that is no text is left out", schedule=repr(name))
        return None


def _body(job_type: JobType[Any, Any], schedule: Schedule, *, now_ms: int) -> bytes:
    body = {"t": None, "f": job_type.name, "a": (), "k": schedule.args, "et": now_ms}
    return codec.dumps({**body, PRIORITY: job_type.priority} if job_type.priority else body)


def _problem_of(job_type: JobType[Any, Any], schedule: Schedule) -> str:
    """Why no job can be made of it: the type has changed since. Empty if one can."""
    try:
        job_type.read_args(schedule.args)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)]
        hide = job_type.hider(schedule.args)
        return hide(f"its args do not fit {job_type.name} any more: {'; '.join(faults)}")
    return ""


def _say(due: Due, turn: Turn, *, now_ms: int, problem: str) -> None:
    late_s = round((now_ms - due.due_ms) / 1000, 1)
    if problem:
        log.error("a schedule's time became no job", schedule=due.id, reason=problem)
    elif turn.missed:
        log.warning("a schedule's time was missed", schedule=due.id, late_s=late_s, made_up_for=turn.runs)

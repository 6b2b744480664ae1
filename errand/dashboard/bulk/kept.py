"""What an action on many jobs is to do and how far it has come: in Redis, where each API process can show it.

A run lives in one API process. If that ends, the run stands still, is seen to, and another process can go on with it
where it stopped: what was done in the last half second is looked at again, and skipped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from errand.http.shared import Shared, in_time
from errand.job.when import AT_ONCE, When
from errand.monitor.timeline import JobFilter
from errand.wire import keys
from errand.wire.job_id import new_job_id

Action = Literal["retry", "cancel", "delete", "reschedule"]

KEPT_S = 86_400

SILENT_S = 5.0
"""A run that has saved nothing for so long, ten times as long as usual, has ended with its process, or hangs."""

MAX_UNFINISHED = 20
"""So many that have neither finished nor been left are known, those that said something last."""


@dataclass(slots=True, kw_only=True)
class BulkRun:
    """One run. Times are in seconds since the epoch, and by the clock of Redis if processes compare them."""

    id: str = field(default_factory=new_job_id)
    owner: str = field(default_factory=new_job_id)
    """Differs for each process that goes on with it: one that was taken for dead and lives on stops."""
    action: Action
    by: str
    per_second: float
    when: When = AT_ONCE
    filter: JobFilter | None = None
    """What the jobs match; None if they were chosen one by one."""
    left: list[str] = field(default_factory=list)
    """The ids of the page that it is at which it has not come to."""
    cursor: str | None = None
    """Where the next page begins; None if this one is the last."""
    started_s: float = field(default_factory=time.time)
    saved_s: float = 0.0
    read_s: float = 0.0
    """When it was read."""
    done: int = 0
    skipped: int = 0
    resumed: bool = False
    """It has been gone on with: what is left may have been done already."""
    last_refusal: str = ""
    """Why the last of those that were skipped was."""
    ended: Literal["", "finished", "stopped", "failed"] = ""

    @property
    def runs(self) -> bool:
        return not self.ended and self.read_s - self.saved_s < SILENT_S

    @property
    def interrupted(self) -> bool:
        """True if nobody has ended it, and no process goes on with it."""
        return self.ended == "failed" or (not self.ended and not self.runs)


_RUN = TypeAdapter(BulkRun)


async def read_run(to: Shared, run_id: str) -> BulkRun | None:
    """The run of that id; None if there is none any more."""
    return _run(await in_time(_get(to, keys.bulk_run(run_id))), now_s=await in_time(_now_s(to)))


async def unfinished(to: Shared) -> list[BulkRun]:
    """Those that have neither finished nor been left, the latest first."""
    ids = await in_time(_unfinished(to))
    records = await in_time(_mget(to, [keys.bulk_run(run_id) for run_id in ids])) if ids else []
    now_s = await in_time(_now_s(to)) if ids else 0.0
    read = (_run(record, now_s=now_s) for record in records)
    return [run for run in read if run is not None]


async def save(to: Shared, run: BulkRun) -> bool:
    """Keeps how far it is; False, and nothing is kept, if it is to stop, or another process goes on with it."""
    kept = await read_run(to, run.id)
    if kept is not None and kept.owner != run.owner:
        return False
    await write(to, run)
    return await in_time(_get(to, keys.bulk_stop(run.id))) is None


async def write(to: Shared, run: BulkRun) -> None:
    """Keeps it, whichever process had it before."""
    run.saved_s = run.read_s = await in_time(_now_s(to))
    await in_time(_write(to, run))


async def take_over(to: Shared, run: BulkRun) -> None:
    """Has this process go on with it: one that had it finds another owner, and nobody has asked it to stop yet."""
    run.owner, run.ended, run.resumed = new_job_id(), "", True
    await in_time(_delete(to, keys.bulk_stop(run.id)))
    await write(to, run)


async def stop(to: Shared, run: BulkRun) -> None:
    """Has it stop before its next job; ends one that stands still."""
    if run.runs:
        await in_time(_ask_to_stop(to, run.id))
    else:
        run.owner, run.ended = new_job_id(), "stopped"
        await write(to, run)


async def _write(to: Shared, run: BulkRun) -> None:
    async with to.redis.pipeline(transaction=False) as pipeline:
        pipeline.set(keys.bulk_run(run.id), _RUN.dump_json(run), ex=KEPT_S)
        if run.ended in ("finished", "stopped"):
            pipeline.zrem(keys.BULK_RUNS, run.id)
        else:
            pipeline.zadd(keys.BULK_RUNS, {run.id: run.saved_s})
            pipeline.zremrangebyrank(keys.BULK_RUNS, 0, -MAX_UNFINISHED - 1)
            pipeline.pexpire(keys.BULK_RUNS, KEPT_S * 1000)
        await pipeline.execute()


async def _ask_to_stop(to: Shared, run_id: str) -> None:
    await to.redis.set(keys.bulk_stop(run_id), b"1", ex=KEPT_S)


async def _delete(to: Shared, name: str) -> None:
    await to.redis.delete(name)


async def _unfinished(to: Shared) -> list[str]:
    ids: list[bytes] = await to.redis.zrevrange(keys.BULK_RUNS, 0, MAX_UNFINISHED - 1)
    return [run_id.decode(errors="replace") for run_id in ids]


async def _now_s(to: Shared) -> float:
    seconds, micros = await to.redis.time()
    return float(seconds + micros / 1_000_000)


async def _get(to: Shared, name: str) -> bytes | None:
    found: bytes | None = await to.redis.get(name)
    return found


async def _mget(to: Shared, names: Sequence[str]) -> list[bytes | None]:
    found: list[bytes | None] = await to.redis.mget(names)
    return found


def _run(record: bytes | None, *, now_s: float) -> BulkRun | None:
    """None for one that another version has written."""
    try:
        run = _RUN.validate_json(record) if record else None
    except ValidationError:
        return None
    if run is not None:
        run.read_s = now_s
    return run

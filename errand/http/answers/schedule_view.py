"""Shapes the answers that show schedules: models for the OpenAPI document, and what fills them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from errand.http.answers.job_view import path_of, shown_args
from errand.job.catalog import Catalog
from errand.job.schedule import Misfire
from errand.schedules.store import KeptSchedule, Source
from errand.wire.limits import shown_ms


class TimeView(BaseModel):
    """One moment, in UTC and in the schedule's time zone."""

    utc: datetime
    local: datetime


class FireView(BaseModel):
    """A time of a schedule for which a job was put."""

    at: datetime = Field(description="the time that the expression names")
    fired_at: datetime = Field(description="when a worker made the job")
    job_id: str


class ScheduleView(BaseModel):
    """One schedule. Times are UTC, but for `local`."""

    id: str
    type: str
    queue: str | None = Field(description="null if it is the job type's")
    args: Mapping[str, Any]
    cron: str
    timezone: str
    misfire: Misfire
    grace_s: float
    jitter_s: float
    enforce: bool = Field(description="no job is put while its queue is full (`QUEUE_LIMIT`)")
    paused: bool
    source: Source = Field(description="`code`: defined by `@job(schedule=…)`, and changed there")
    next_fires: list[TimeView] = Field(description="the next five; none while it is paused")
    last_fire: FireView | None
    last_missed_at: datetime | None = Field(description="the last time at which no worker was there to make the job")
    problem: str | None = Field(description="why no job was made at its last time")
    created_at: datetime
    updated_at: datetime = Field(description="when its definition last changed")
    links: dict[str, str]


class SchedulePage(BaseModel):
    """Some of the schedules, in the order of their ids."""

    schedules: list[ScheduleView]
    next: str | None = Field(description="the next page; null if this is the last")


def schedule_view(kept: KeptSchedule, catalog: Catalog, *, root_path: str) -> ScheduleView:
    """The schedule as the API shows it. Its links begin with `root_path`."""
    schedule, last = kept.schedule, kept.last_fire
    zone = ZoneInfo(schedule.timezone)
    return ScheduleView(
        id=kept.id,
        type=kept.type,
        queue=schedule.queue,
        args=shown_args(catalog.get(kept.type), schedule.args),
        cron=schedule.cron,
        timezone=schedule.timezone,
        misfire=schedule.misfire,
        grace_s=schedule.grace_s,
        jitter_s=schedule.jitter_s,
        enforce=schedule.enforce,
        paused=kept.paused,
        source=kept.source,
        next_fires=[TimeView(utc=_at(at_ms), local=_at(at_ms).astimezone(zone)) for at_ms in kept.coming_ms],
        last_fire=last and FireView(at=_at(last.due_ms), fired_at=_at(last.fired_ms), job_id=last.job_id),
        last_missed_at=None if kept.last_missed_ms is None else _at(kept.last_missed_ms),
        problem=kept.problem,
        created_at=_at(kept.created_ms),
        updated_at=_at(kept.updated_ms),
        links=_links_of(kept, root_path),
    )


def _links_of(kept: KeptSchedule, root_path: str) -> dict[str, str]:
    path = f"{root_path}/v1/schedules/{kept.id}"
    links = {"self": path, "trigger": f"{path}/trigger"}
    links |= {"resume": f"{path}/resume"} if kept.paused else {"pause": f"{path}/pause"}
    return links | ({"last_job": path_of(kept.last_fire.job_id, root_path)} if kept.last_fire else {})


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(shown_ms(at_ms) / 1000, UTC)

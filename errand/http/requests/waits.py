"""Waits for the end of a job: `?wait=N`, and `Prefer: wait=N` (RFC 7240)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from typing import Annotated
from urllib.parse import unquote

from fastapi import Header, Request, Response
from pydantic_core import from_json, to_json
from redis.exceptions import RedisError

from errand.http.answers.job_view import json_response
from errand.http.answers.problems import Problem
from errand.http.requests.job_path import found
from errand.http.scope import CONNECTION, Connection, first_headers
from errand.http.shared import Shared, full_view_of, in_time
from errand.monitor.job_snapshot import JobSnapshot, goes_on
from errand.redis.outage import is_outage

MAX_WAIT_S = 60


FIRST_LOOK_S, LAST_LOOK_S = 1.0, 8.0
"""What is pushed is a hint: a waiter looks for itself after so long, then after twice as long each, to the last."""


RAW_HEADER = b"prefer"


PREFERENCE = re.compile(
    r'\s*+([!#$%&\'*+.^_`|~0-9A-Za-z-]++)\s*+(?:=\s*+("(?:[^"\\]|\\.)*+"|[^;,"\s]*+))?+\s*+(?:;[^,]*+)?+'
)
"""Gives nothing back that it has matched: two runs of spaces side by side would be tried in every division."""


PreferHeader = Annotated[
    str | None,
    Header(
        alias="Prefer",
        description="RFC 7240: `wait=N` has the answer wait for the job's end, N seconds at most, and 60",
        examples=["wait=1"],
    ),
]
"""The header for the OpenAPI document: `preferred_s` reads it."""


def preferred_s(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """How long the client would wait, 60 s at most; None if it does not say.

    What makes no sense is ignored, as RFC 7240 asks; of several the first counts.
    """
    given = [value for name, value in headers if name == RAW_HEADER]
    for preference in ",".join(value.decode("latin-1") for value in given).split(",") if given else ():
        parts = PREFERENCE.fullmatch(preference)
        if parts and parts[1].lower() == "wait" and re.fullmatch("[0-9]{1,9}", value := (parts[2] or "").strip('"')):
            return min(int(value), MAX_WAIT_S)
    return None


def applied(wait_s: int) -> dict[str, str]:
    """The header that says so."""
    return {"Preference-Applied": f"wait={wait_s}"}


async def instead_of(accepted: Response, request: Request, to: Shared) -> Response:
    """The answer to a request that has put a job; 200 with the job if the client would wait for its end, which came."""
    if RAW_HEADER not in first_headers(request.scope):
        return accepted
    wait_s = preferred_s(request.scope["headers"])
    if wait_s is None:
        return accepted
    accepted.headers.update(applied(wait_s))
    job_id = unquote(accepted.headers["location"].rpartition("/")[2])
    try:
        job = await _ended_or_after(request, to, job_id, time.monotonic() + wait_s) if wait_s else None
        view = await full_view_of(to, job) if job is not None else None
    except (Problem, RedisError) as error:
        if isinstance(error, RedisError) and not is_outage(error):
            raise
        # the job was accepted, also if the wait failed
        return accepted
    if job is None or view is None:
        return accepted
    headers = {
        name: value for name, value in accepted.headers.items() if name not in ("content-length", "content-type")
    }
    if job.ended:
        return json_response(view, headers=headers)
    # not as it was when it was put: its first attempts may have failed since
    now = view.model_dump(mode="json")
    shown = {name: now.get(name, value) for name, value in from_json(bytes(accepted.body)).items()}
    return Response(to_json(shown), status_code=accepted.status_code, media_type="application/json", headers=headers)


class StopNotice:
    """Whether the process has started to stop, and whom that is to wake."""

    def __init__(self) -> None:
        self.started = False
        self.wakes: asyncio.Event | None = None

    def begin(self) -> None:
        """Called by the connection."""
        self.started = True
        if self.wakes is not None:
            self.wakes.set()


@contextlib.contextmanager
def stop_notifying(request: Request) -> Iterator[StopNotice]:
    """A stop of the process while this request is answered: an answer that waits on past it is cut off."""
    stop = StopNotice()
    connection: Connection | None = request.scope.get(CONNECTION)
    if connection is not None:
        connection.at_shutdown = stop.begin
    try:
        yield stop
    finally:
        if connection is not None:
            connection.at_shutdown = lambda: None


async def ended_or_after(request: Request, to: Shared, job_id: str, *, wait_s: float) -> JobSnapshot:
    """The job when it has ended, or as it is after `wait_s` seconds or when the process stops. Raises Problem 404."""
    until_s = time.monotonic() + wait_s
    # before anything is subscribed to: an unknown job is answered at once
    job = await found(to, job_id)
    return job if job.ended else await _ended_or_after(request, to, job_id, until_s)


async def _ended_or_after(request: Request, to: Shared, job_id: str, until_s: float) -> JobSnapshot:
    with stop_notifying(request) as stop:
        async with to.events.end_of(job_id) as ended:
            stop.wakes = ended
            return await _ended_or_until(until_s, to, job_id, ended, stop)


async def _ended_or_until(
    until_s: float, to: Shared, job_id: str, ended: asyncio.Event, stop: StopNotice
) -> JobSnapshot:
    look_s, notified = FIRST_LOOK_S, False
    while True:
        # before the look: an end that is published while it lasts must not be forgotten
        ended.clear()
        left_s = until_s - time.monotonic()
        is_last = left_s <= 0 or stop.started
        if is_last or notified or not await in_time(goes_on(to.partitions, job_id)):
            job = await found(to, job_id)
            if is_last or job.ended:
                return job
        try:
            notified = await asyncio.wait_for(ended.wait(), min(left_s, look_s))
        except TimeoutError:
            look_s, notified = min(look_s * 2, LAST_LOOK_S), False

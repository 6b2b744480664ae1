"""Dead jobs by what they died of, and their replay: looked at first, then done at a pace."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Depends, Request, Response
from pydantic import ValidationError

from errand.dashboard import gate
from errand.dashboard.charts import spark
from errand.dashboard.forms import FormDep
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import page
from errand.dashboard.wording import exact, of_ms
from errand.dead_jobs.dead_jobs import DeadGroup, DeadJobFilter
from errand.dead_jobs.replay import Replayed
from errand.http.requests import json_body
from errand.http.requests.filters import check_queue
from errand.http.routes.dead_jobs import DEFAULT_REPLAY, Replay, largest, replayed
from errand.http.shared import Shared, SharedDep, in_time

if TYPE_CHECKING:
    from markupsafe import Markup

GROUPS = 50

router = page_router("/dead-jobs")


@router.get("", dependencies=[Depends(gate.may_look)])
async def list_groups(request: Request, to: SharedDep) -> Response:
    """The largest groups, each with its newest job."""
    given = request.query_params
    type, about, queue = (given.get(name) or None for name in ("type", "about", "queue"))
    filter = DeadJobFilter(type=type, about=about, queue=queue)
    check_queue(to, queue, field="query.queue")
    shown, found = await in_time(largest(to, filter, GROUPS))
    deaths = await in_time(to.dead.deaths(shown, until_ms=int(time.time() * 1000)))
    sparks = [_spark(group, counts) for group, counts in zip(shown, deaths, strict=True)]
    more = len(found.groups) - len(shown)
    return page(
        request, "dead_jobs.html.j2", groups=shown, sparks=sparks, more=more, complete=found.complete, about=about
    )


@router.get("/replay", dependencies=[Depends(gate.may_look)])
async def preview(request: Request, to: SharedDep) -> Response:
    """What a replay of these dead jobs would do: nothing is put."""
    given = {name: value for name, value in request.query_params.items() if value}
    replay = _replay({"limit": str(DEFAULT_REPLAY), **given}, dry_run=True)
    return _shown(request, replay, await _done(to, replay))


@router.post("/replay", dependencies=[Depends(gate.may_act("admin"))], operation_id="replay_dead_jobs")
async def replay_group(request: Request, to: SharedDep, form: FormDep) -> Response:
    """Puts dead jobs again, at the pace that the form says."""
    names = ("type", "fingerprint", "about", "queue", "per_second", "limit")
    replay = _replay({name: form.get(name) for name in names if form.get(name)}, dry_run=False)
    return _shown(request, replay, await _done(to, replay))


async def _done(to: Shared, replay: Replay) -> Replayed:
    check_queue(to, replay.queue, field="queue")
    return await replayed(to, replay)


def _replay(given: dict[str, str], *, dry_run: bool) -> Replay:
    """Raises Problem 422."""
    try:
        return Replay.model_validate({**given, "dry_run": dry_run})
    except ValidationError as error:
        fault: Any = error.errors(include_url=False)[0]
        raise json_body.invalid(".".join(map(str, fault["loc"])) or "type", fault["msg"]) from None


def _spark(group: DeadGroup, counts: Sequence[int]) -> Markup:
    first, most = of_ms(group.oldest.ended_at_ms), max(counts)
    return spark.drawn(counts, f"Deaths since {exact(first)}, at most {most} in a twentieth of the time")


def _shown(request: Request, replay: Replay, done: Replayed) -> Response:
    return page(request, "replay.html.j2", replay=replay, done=done)

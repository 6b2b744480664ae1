"""The stream by which an open page follows what happens."""

from __future__ import annotations

from functools import partial

from fastapi import Depends, Request, Response

from errand.dashboard import gate
from errand.dashboard.live.pulse import Pulse
from errand.dashboard.page_route import page_router
from errand.http.answers.polled_stream import PolledStream
from errand.http.answers.problems import Problem
from errand.http.gates import head_requests
from errand.http.shared import Shared, SharedDep

router = page_router("/live")


@router.get("", dependencies=[Depends(gate.may_look)], response_model=None)
async def follow(request: Request, to: SharedDep, jobs: bool = True) -> Response:
    """Beats (`text/event-stream`) until the page is closed; `jobs=false` for a page that shows none."""
    if head_requests.ASKED in request.scope:
        return Response(media_type="text/event-stream")
    pulse = _pulse(request, to)
    if pulse.pages >= to.settings.watcher_limit:
        raise Problem(503, "too-many-watchers", "As many pages are open as this process may have: WATCHER_LIMIT.")
    pulse.open_page()
    return PolledStream(partial(pulse.messages, jobs=jobs), at_end=pulse.close_page)


def _pulse(request: Request, to: Shared) -> Pulse:
    """The one of this API process, which begins anew where the API has been opened again."""
    known: Pulse | None = getattr(request.app.state, "pulse", None)
    if known is None or known.feed is not to.feed:
        known = request.app.state.pulse = Pulse(to)
    return known

"""Signs people in with a key, and out; and keeps which colours they chose."""

from __future__ import annotations

from fastapi import Depends, Request, Response

from errand.dashboard import gate, session
from errand.dashboard.forms import OpenFormDep, done
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import THEME_COOKIE, THEMES, base_path, page
from errand.http.answers.problems import Problem
from errand.http.gates import auth
from errand.http.shared import SharedDep, in_time

YEAR_S = 365 * 86_400

router = page_router()

OWN_PAGE = [Depends(gate.check_own_page)]


@router.post("/sign-in", dependencies=OWN_PAGE, operation_id="sign_in")
async def sign_in(request: Request, to: SharedDep, form: OpenFormDep) -> Response:
    """Opens a session for the key in the form. The key is in no URL, and the answer does not hold it."""
    try:
        key = auth.admit_by(request, form.get("key"), auth.keys_of(request.app))
    except Problem as problem:
        if problem.status != 401:
            raise
        detail = "This is not one of the service's keys, or it has expired."
        return page(request, "sign_in.html.j2", status=401, detail=detail, here=form.get("back"))
    cookie = await in_time(session.opened(to.redis, key, for_s=to.settings.dashboard_session_s))
    answer = done(request, form.get("back"))
    _set(answer, request, session.COOKIE, cookie, for_s=to.settings.dashboard_session_s)
    return answer


@router.post("/sign-out", dependencies=[Depends(gate.may_look), *OWN_PAGE], operation_id="sign_out")
async def sign_out(request: Request, to: SharedDep) -> Response:
    """Ends the session, here and for each copy of its cookie."""
    opened = gate.viewer_of(request).session
    if opened is not None:
        await in_time(session.close(to.redis, opened))
    answer = done(request, base_path(request))
    answer.delete_cookie(session.COOKIE, path=base_path(request))
    return answer


@router.post("/theme", dependencies=OWN_PAGE)
async def choose_theme(request: Request, form: OpenFormDep) -> Response:
    """Light, dark, or as the system has it."""
    answer = done(request, form.get("back"))
    chosen = form.get("theme")
    _set(answer, request, THEME_COOKIE, chosen if chosen in THEMES else "system", for_s=YEAR_S)
    return answer


def _set(answer: Response, request: Request, name: str, value: str, *, for_s: int) -> None:
    """A cookie for the dashboard alone, which no script can read and no other site's page sends along."""
    answer.set_cookie(
        name,
        value,
        max_age=for_s,
        path=base_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )

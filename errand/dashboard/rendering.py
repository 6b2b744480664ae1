"""Makes a page of a template: everything escaped and cut, under a policy that runs nothing but the dashboard's own."""

from __future__ import annotations

import asyncio
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from errand.dashboard import gate, wording
from errand.dashboard.assets import PATH, asset_path
from errand.dashboard.json_text import json_html
from errand.http.scope import api_path, root_path
from errand.webhooks.job_type import JOB_TYPE

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

THEME_COOKIE = "errand_theme"

THEMES = ("system", "light", "dark")

MAX_SHOWN_CHARS = 2_000
"""Of any one text on a page: a line of a megabyte would hold up the browser."""

MAX_LONG_CHARS = 10_000

COMPILED_AFTER_S = 1.0
"""After the first page, so that it is not slowed by what others will need."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    # with no-referrer a browser would send `Origin: null` with a form, and nobody could see where it stands
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Cookie",
}


NAVIGATION = (
    ("", "Overview"),
    ("/jobs", "Jobs"),
    ("/dead-jobs", "Dead jobs"),
    ("/queues", "Queues"),
    ("/workers", "Workers"),
    ("/schedules", "Schedules"),
    ("/job-types", "Job types"),
    ("/webhook-endpoints", "Webhooks"),
    ("/mail", "Mail"),
    ("/audit", "Audit"),
)
"""The path of each page that the navigation shows, below the dashboard's, and what it is called."""


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Of all templates. Jinja2 is loaded here, not with the API."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("errand.dashboard"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(wording.FILTERS, json_html=json_html, long=_long, exactly=_exactly, number=_number)
    return made


@lru_cache(maxsize=1)
def _compile_soon(wait_s: float = COMPILED_AFTER_S) -> None:
    """Has the templates of the other pages compiled once, in a thread, while the first page is read.

    Each takes 3 to 25 ms: the first reader of each page waited for that, and the jobs and pages of others with it.
    """
    asyncio.get_running_loop().call_later(wait_s, threading.Thread(target=_compile, daemon=True).start)


def _compile() -> None:
    for name in environment().list_templates():
        environment().get_template(name)


def _finalized(value: Any) -> Any:
    """What stands in a page for the value of any expression in a template."""
    if value is None:
        return ""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return wording.visible(value, most=MAX_SHOWN_CHARS)
    return value


def _long(text: str) -> Markup:
    """A filter: a text that may be longer than others, such as a traceback."""
    from markupsafe import Markup, escape

    return Markup(escape(wording.visible(text, most=MAX_LONG_CHARS)))  # noqa: S704  # escaped


def _exactly(text: str) -> Markup:
    """A filter: what stands in a field of a form, and is sent back as it is."""
    from markupsafe import Markup, escape

    return Markup(escape(text))  # noqa: S704  # escaped


def _number(value: float) -> Markup:
    """A filter: `12,345`, which the script writes in the reader's own way."""
    from markupsafe import Markup

    return Markup(f'<data value="{value:.0f}">{wording.number(value)}</data>')  # noqa: S704  # digits


def base_path(request: Request) -> str:
    """The path of the dashboard, with that of the mount."""
    return f"{root_path(request.scope)}{PATH}"


def page(request: Request, template: str, *, status: int = 200, **known: Any) -> HTMLResponse:
    """The page that this template makes of what is known."""
    base, viewer = base_path(request), gate.viewer_of(request)
    theme = request.cookies.get(THEME_COOKIE)
    text = (
        environment()
        .get_template(template)
        .render(
            base=base,
            asset=lambda name: f"{base}{asset_path(name)}",
            viewer=viewer,
            read_only=gate.is_read_only(request),
            theme=theme if theme in THEMES else "system",
            path=api_path(request.scope).removeprefix(PATH),
            nav=_navigation(request, viewer),
            # what answers a form is at an address that shows something else, or nothing, when it is read again
            lives=status == 200 and request.method == "GET",
            **{"here": here(request), **known},
        )
    )
    _compile_soon()
    # lone surrogates, which JSON may hold, cannot be sent
    return HTMLResponse(text.encode("utf-8", "replace"), status_code=status, headers=HEADERS)


def _navigation(request: Request, viewer: gate.Viewer) -> list[tuple[str, str]]:
    """The pages that are for this viewer, of those that this installation has."""
    hidden = {"/audit"} if not viewer.audits else set()
    to = request.app.state.shared
    if not to.letter_types:
        hidden.add("/mail")
    if JOB_TYPE not in to.catalog:
        hidden.add("/webhook-endpoints")
    return [shown for shown in NAVIGATION if shown[0] not in hidden]


def here(request: Request) -> str:
    """The path of this page and its query, for a form or a sign-in that leads back to it."""
    path, query = (
        f"{root_path(request.scope)}{api_path(request.scope)}",
        request.scope["query_string"].decode("latin-1"),
    )
    return f"{path}?{query}" if query and request.method == "GET" else path


def back_to(request: Request, given: str) -> str:
    """The path of a page of this dashboard that a form names; the overview for anything else."""
    base = base_path(request)
    is_ours = given == base or given.startswith((f"{base}/", f"{base}?"))
    return given if is_ours and given.isprintable() and given.isascii() and "\\" not in given else base

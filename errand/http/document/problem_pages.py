"""Serves `/problems/{kind}`, the address in a problem's `type`: what it means, and what to do."""

from __future__ import annotations

import re
from html import escape

from fastapi import FastAPI
from starlette.responses import HTMLResponse

from errand.http.answers.problem_kinds import KINDS, ProblemKind
from errand.http.answers.problems import Problem

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{kind}</title></head>
<body><h1>{kind}</h1><p>Status {status}. {meaning}</p><h2>What to do</h2><p>{advice}</p></body></html>
"""


def install(app: FastAPI) -> None:
    """Adds the pages to the app. They need no key: they say nothing about this installation."""

    @app.get("/problems/{kind}", include_in_schema=False)
    async def problem_page(kind: str) -> HTMLResponse:
        if kind not in KINDS:
            raise Problem(404, "not-found", "There is no such kind of problem.")
        return HTMLResponse(_page(kind, KINDS[kind]))


def _page(name: str, kind: ProblemKind) -> str:
    return PAGE.format(kind=name, status=kind.status, meaning=_as_html(kind.meaning), advice=_as_html(kind.advice))


def _as_html(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))

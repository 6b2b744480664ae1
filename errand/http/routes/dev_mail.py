"""`/dev/mail`: what the mail sink has kept, readable on the machine of a developer, and nowhere else."""

from __future__ import annotations

import asyncio
from html import escape
from pathlib import Path

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from errand.http.answers.problems import Problem
from errand.http.gates import auth
from errand.http.shared import Shared, SharedDep
from errand.mail.kept_letters import OpenedLetter, newest_letters, open_letter


async def _check_owner(request: Request) -> None:
    """Raises Problem 404 if another app's dependencies admit requests: they may admit other machines."""
    if auth.is_off(request.app):
        raise _not_there()


router = APIRouter(
    prefix="/dev/mail",
    include_in_schema=False,
    dependencies=[Depends(auth.require("read")), Depends(_check_owner)],
)


SHOWN = 200


PAGE_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; frame-ancestors 'none'"
}


LETTER_POLICY = {
    # a letter is somebody's text: no scripts, no forms, nothing from elsewhere, no origin of ours
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
    )
}


STYLE = """<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .3rem .6rem; vertical-align: top; }
tr { border-bottom: 1px solid #8884; } iframe { width: 100%; height: 40rem; border: 1px solid #8884; background: #fff; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #8884; padding: 1rem; }
</style>"""


@router.get("")
async def list_letters(to: SharedDep) -> HTMLResponse:
    """The newest letters, as a page."""
    letters = await asyncio.to_thread(newest_letters, _folder(to), limit=SHOWN)
    rows = "".join(
        f"<tr><td>{letter.at:%Y-%m-%d %H:%M:%S}</td><td>{escape(letter.recipient)}</td>"
        f'<td><a href="{to.root_path}/dev/mail/{letter.name}">{escape(letter.subject) or "(no subject)"}</a></td></tr>'
        for letter in letters
    )
    empty = "" if letters else "<p>Nothing was sent yet.</p>"
    table = f"<table><tr><th>UTC</th><th>To</th><th>Subject</th></tr>{rows}</table>{empty}"
    return _page("Mail", f"<h1>Mail</h1><p>Kept in {escape(str(_folder(to)))}, the newest first.</p>{table}")


@router.get("/{name}")
async def show_letter(to: SharedDep, name: str) -> HTMLResponse:
    """One letter, as a page: its headers, its HTML in a frame that may do nothing, its text."""
    letter = await _opened(to, name)
    own = f"{to.root_path}/dev/mail/{name}"
    headers = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in letter.headers)
    frame = f'<h2>HTML</h2><iframe sandbox src="{own}/html" title="the letter"></iframe>' if letter.html else ""
    items = "".join(f"<li>{escape(each)}</li>" for each in letter.enclosed)
    enclosed = f"<h2>Enclosed</h2><ul>{items}</ul>" if items else ""
    return _page(
        "Letter",
        f'<p><a href="{to.root_path}/dev/mail">Mail</a> · <a href="{own}/raw">raw</a></p><table>{headers}</table>'
        f"{frame}<h2>Text</h2><pre>{escape(letter.text)}</pre>{enclosed}",
    )


@router.get("/{name}/html")
async def show_html(to: SharedDep, name: str) -> HTMLResponse:
    """The HTML of a letter by itself, for the frame."""
    letter = await _opened(to, name)
    if letter.html is None:
        raise Problem(404, "unknown-letter", "This letter has no HTML.")
    return HTMLResponse(letter.html, headers=LETTER_POLICY)


@router.get("/{name}/raw")
async def show_raw(to: SharedDep, name: str) -> Response:
    """A letter as it came, byte for byte."""
    letter = await _opened(to, name)
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(letter.raw, media_type="message/rfc822", headers=disposition)


def _folder(to: Shared) -> Path:
    """Raises Problem 404 if letters leave this machine, or keys guard the API: then others can reach it."""
    if to.settings.smtp_url is not None or to.settings.api_keys:
        raise _not_there()
    return to.settings.data_dir / "mail"


def _not_there() -> Problem:
    return Problem(404, "not-found", "The mail page is there only while the mail sink keeps letters, without API_KEYS.")


async def _opened(to: Shared, name: str) -> OpenedLetter:
    letter = await asyncio.to_thread(open_letter, _folder(to), name)
    if letter is None:
        raise Problem(404, "unknown-letter", f"There is no letter '{name}'.")
    return letter


def _page(title: str, body: str) -> HTMLResponse:
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>{STYLE}</head>'
    return HTMLResponse(f"{head}<body>{body}</body></html>", headers=PAGE_POLICY)

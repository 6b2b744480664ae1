"""`/dev/mail`: what the mail sink has kept, readable on the machine of a developer, and nowhere else."""

from __future__ import annotations

import asyncio
from html import escape
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from errand.http.answers.problems import Problem
from errand.http.gates import auth
from errand.http.shared import Shared, SharedDep
from errand.mail.kept_letters import OpenedLetter, newest_letters, open_letter

router = APIRouter(prefix="/dev/mail", include_in_schema=False, dependencies=[Depends(auth.require("read"))])


def letters_folder(request: Request, to: Shared) -> Path | None:
    """Where the mail sink keeps letters; None if they leave this machine, or if others can reach the API.

    Others can if keys guard it, or another app's dependencies: these may admit other machines.
    """
    if auth.is_off(request.app) or to.settings.smtp_url is not None or to.settings.api_keys:
        return None
    return to.settings.data_dir / "mail"


async def _folder(request: Request, to: SharedDep) -> Path:
    """Raises Problem 404 if there is none to be shown."""
    folder = letters_folder(request, to)
    if folder is None:
        detail = "The mail page is there only while the mail sink keeps letters, without API_KEYS."
        raise Problem(404, "not-found", detail)
    return folder


FolderDep = Annotated[Path, Depends(_folder)]


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
async def list_letters(to: SharedDep, folder: FolderDep) -> HTMLResponse:
    """The newest letters, as a page."""
    letters = await asyncio.to_thread(newest_letters, folder, limit=SHOWN)
    rows = "".join(
        f"<tr><td>{letter.at:%Y-%m-%d %H:%M:%S}</td><td>{escape(letter.recipient)}</td>"
        f'<td><a href="{to.root_path}/dev/mail/{letter.name}">{escape(letter.subject) or "(no subject)"}</a></td></tr>'
        for letter in letters
    )
    empty = "" if letters else "<p>Nothing was sent yet.</p>"
    table = f"<table><tr><th>UTC</th><th>To</th><th>Subject</th></tr>{rows}</table>{empty}"
    return _page("Mail", f"<h1>Mail</h1><p>Kept in {escape(str(folder))}, the newest first.</p>{table}")


@router.get("/{name}")
async def show_letter(to: SharedDep, folder: FolderDep, name: str) -> HTMLResponse:
    """One letter, as a page: its headers, its HTML in a frame that may do nothing, its text."""
    letter = await opened(folder, name)
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
async def show_html(folder: FolderDep, name: str) -> HTMLResponse:
    """The HTML of a letter by itself, for the frame."""
    return framed((await opened(folder, name)).html)


@router.get("/{name}/raw")
async def show_raw(folder: FolderDep, name: str) -> Response:
    """A letter as it came, byte for byte."""
    letter = await opened(folder, name)
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(letter.raw, media_type="message/rfc822", headers=disposition)


def framed(html: str | None) -> HTMLResponse:
    """The HTML of a letter, for a frame of a page of ours. Raises Problem 404 if it has none."""
    if html is None:
        raise Problem(404, "unknown-letter", "This letter has no HTML.")
    return HTMLResponse(html.encode("utf-8", "replace"), headers=LETTER_POLICY)


async def opened(folder: Path, name: str) -> OpenedLetter:
    """That letter. Raises Problem 404."""
    letter = await asyncio.to_thread(open_letter, folder, name)
    if letter is None:
        raise Problem(404, "unknown-letter", f"There is no letter '{name}'.")
    return letter


def _page(title: str, body: str) -> HTMLResponse:
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>{STYLE}</head>'
    return HTMLResponse(f"{head}<body>{body}</body></html>", headers=PAGE_POLICY)

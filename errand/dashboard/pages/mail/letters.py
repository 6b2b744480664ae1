"""The list of letters that the mail sink has kept, and one of them as its reader sees it."""

from __future__ import annotations

import asyncio

from fastapi import Depends, Request, Response

from errand.dashboard import gate
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import page
from errand.http.routes import dev_mail
from errand.http.routes.dev_mail import FolderDep, framed, letters_folder, opened
from errand.http.routes.email import template_names
from errand.http.shared import SharedDep
from errand.mail.kept_letters import newest_letters

router = page_router("/mail")

ROWS = 50
"""Each letter is opened to be listed, which takes a third of a millisecond."""

LOOKS = [Depends(gate.may_look)]


@router.get("", dependencies=LOOKS)
async def list_letters(request: Request, to: SharedDep) -> Response:
    """The newest letters, if they are kept and may be shown, and the templates."""
    folder = letters_folder(request, to)
    letters = None if folder is None else await asyncio.to_thread(newest_letters, folder, limit=ROWS)
    templates = await asyncio.to_thread(template_names, to.settings.template_dir)
    return page(request, "mail.html.j2", letters=letters, folder=folder, most=ROWS, templates=templates)


@router.get("/letters/{name}", dependencies=LOOKS)
async def show_letter(name: str, request: Request, folder: FolderDep) -> Response:
    """Its HTML in a frame that may do nothing, its text, its headers."""
    letter = await opened(folder, name)
    return page(request, "letter.html.j2", name=name, letter=letter, headings=dict(letter.headers))


@router.get("/letters/{name}/html", dependencies=LOOKS)
async def show_html(name: str, folder: FolderDep) -> Response:
    """The HTML by itself, for the frame."""
    return framed((await opened(folder, name)).html)


@router.get("/letters/{name}/raw", dependencies=LOOKS)
async def show_raw(name: str, folder: FolderDep) -> Response:
    """A letter as it came, byte for byte."""
    return await dev_mail.show_raw(folder, name)

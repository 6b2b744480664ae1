"""Serves the documentation at `/guide` on a developer's machine, if `make docs` has built it there."""

from __future__ import annotations

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from errand.http.api import Api
from errand.http.gates import auth
from errand.settings import Settings

PATH = "/guide"


BUILT_AT = ("docs", "html")
"""The folder of the site, below `DATA_DIR`."""


POLICY = "default-src 'self'; {inline}; img-src 'self' data:; frame-ancestors 'none'".format(
    inline="script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
)
"""The site's own files, and the scripts in its pages; none of anybody else."""


def install(api: Api, settings: Settings) -> None:
    """Adds its two routes, behind all others; none without a site, or if keys guard the service."""
    folder = settings.data_dir.joinpath(*BUILT_AT)
    if settings.api_keys or not (folder / "index.html").is_file():
        return
    site, guard = StaticFiles(directory=folder, html=True), [Depends(auth.require_reader_of_pages)]

    @api.get(PATH, include_in_schema=False, dependencies=guard)
    async def front_page() -> Response:
        return RedirectResponse(f"{PATH}/")

    @api.get(PATH + "/{path:path}", include_in_schema=False, dependencies=guard)
    async def page(path: str, request: Request) -> Response:
        answer = await site.get_response(path or ".", request.scope)
        answer.headers["content-security-policy"] = POLICY
        return answer

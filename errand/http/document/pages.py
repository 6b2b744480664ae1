"""Serves `/docs` and `/redoc`, FastAPI's pages for people, under a policy that allows their own scripts alone.

Their programs come from a network that anybody may publish on: each is of one version, and a browser runs it only if it
has the hash that is known here. The hashes are those of the files in the npm packages of these versions.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import lru_cache
from hashlib import sha256

from fastapi import Depends, FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse

from errand.http.document import openapi
from errand.http.gates import auth
from errand.http.scope import root_path

SWAGGER = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0/"


REDOC = "https://cdn.jsdelivr.net/npm/redoc@2.5.4/"


INTEGRITY = {
    f"{SWAGGER}swagger-ui-bundle.js": "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9",
    f"{SWAGGER}swagger-ui.css": "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I",
    f"{REDOC}bundles/redoc.standalone.js": "sha384-w447zOpYfw/1Tv/5AK9NfHTlQIqE3RVR6KY62jCyy9zNDgO64cMwGGP1Fj0zJVf5",
}
"""Everything that is loaded from elsewhere."""


NO_ICON = "data:,"


INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def install(app: FastAPI) -> None:
    """Adds the two pages to the app."""
    # FastAPI's routes, not Starlette's: they run the app's dependencies
    for path, page, source in (("/docs", _swagger, SWAGGER), ("/redoc", _redoc, REDOC)):
        guard = [Depends(auth.require_reader_of_pages)]
        app.get(path, include_in_schema=False, dependencies=guard)(_serving(page, title=app.title, source=source))


@lru_cache(maxsize=16)
def _swagger(document: str, title: str) -> str:
    page = get_swagger_ui_html(
        openapi_url=document,
        title=title,
        swagger_js_url=f"{SWAGGER}swagger-ui-bundle.js",
        swagger_css_url=f"{SWAGGER}swagger-ui.css",
        swagger_favicon_url=NO_ICON,
    )
    return _with_hashes(bytes(page.body).decode())


@lru_cache(maxsize=16)
def _redoc(document: str, title: str) -> str:
    page = get_redoc_html(
        openapi_url=document,
        title=title,
        redoc_js_url=f"{REDOC}bundles/redoc.standalone.js",
        redoc_favicon_url=NO_ICON,
        with_google_fonts=False,
    )
    return _with_hashes(bytes(page.body).decode())


def _with_hashes(page: str) -> str:
    for url, digest in INTEGRITY.items():
        page = page.replace(f'"{url}"', f'"{url}" integrity="{digest}" crossorigin="anonymous"')
    return page


def policy_of(page: str, *, source: str) -> str:
    """Allows the page's own inline scripts, by their hashes, what lies under `source`, and the OpenAPI document."""
    inline = [b64encode(sha256(script.encode()).digest()).decode() for script in INLINE_SCRIPT.findall(page)]
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src", source, *(f"'sha256-{digest}'" for digest in inline)]),
            # both style their elements in place
            f"style-src {source} 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src data:",
            "connect-src 'self'",
            # ReDoc searches in a worker that it makes of a blob
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _serving(
    page: Callable[[str, str], str], *, title: str, source: str
) -> Callable[[Request], Awaitable[HTMLResponse]]:
    async def serve(request: Request) -> HTMLResponse:
        text = page(f"{root_path(request.scope)}{openapi.PATH}", title)
        return HTMLResponse(text, headers={"Content-Security-Policy": policy_of(text, source=source)})

    return serve

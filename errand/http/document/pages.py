"""Serves `/docs` and `/redoc`, FastAPI's pages for people, under a policy that allows their own scripts alone."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import lru_cache
from hashlib import sha256

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse

from errand.http.document import openapi
from errand.http.scope import root_path

SWAGGER = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"


REDOC = "https://cdn.jsdelivr.net/npm/redoc@2/"


NO_ICON = "data:,"


INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def install(app: FastAPI) -> None:
    """Adds the two pages to the app."""
    # FastAPI's routes, not Starlette's: they run the app's dependencies
    for path, page, source in (("/docs", _swagger, SWAGGER), ("/redoc", _redoc, REDOC)):
        app.get(path, include_in_schema=False)(_serving(page, title=app.title, source=source))


@lru_cache(maxsize=16)
def _swagger(document: str, title: str) -> str:
    page = get_swagger_ui_html(
        openapi_url=document,
        title=title,
        swagger_js_url=f"{SWAGGER}swagger-ui-bundle.js",
        swagger_css_url=f"{SWAGGER}swagger-ui.css",
        swagger_favicon_url=NO_ICON,
    )
    return bytes(page.body).decode()


@lru_cache(maxsize=16)
def _redoc(document: str, title: str) -> str:
    page = get_redoc_html(
        openapi_url=document,
        title=title,
        redoc_js_url=f"{REDOC}bundles/redoc.standalone.js",
        redoc_favicon_url=NO_ICON,
        with_google_fonts=False,
    )
    return bytes(page.body).decode()


def policy_of(page: str, *, source: str) -> str:
    """Allows the page's own inline scripts, by their hashes, what lies under `source`, and the OpenAPI document."""
    inline = [b64encode(sha256(script.encode()).digest()).decode() for script in INLINE_SCRIPT.findall(page)]
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src", source, *(f"'sha256-{digest}'" for digest in inline)]),
            # both style their elements in place
            f"style-src {source} 'unsafe-inline'",
            "img-src 'self' data: https://cdn.redoc.ly",
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

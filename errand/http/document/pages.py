"""`/docs` and `/redoc`: FastAPI's pages for people, under a policy that lets their own scripts run and no other."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse

SWAGGER = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"


REDOC = "https://cdn.jsdelivr.net/npm/redoc@2/"


NO_ICON = "data:,"


INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def install(app: FastAPI) -> None:
    """The two pages."""
    document = str(app.openapi_url)
    swagger = get_swagger_ui_html(
        openapi_url=document,
        title=app.title,
        swagger_js_url=f"{SWAGGER}swagger-ui-bundle.js",
        swagger_css_url=f"{SWAGGER}swagger-ui.css",
        swagger_favicon_url=NO_ICON,
    )
    redoc = get_redoc_html(
        openapi_url=document,
        title=app.title,
        redoc_js_url=f"{REDOC}bundles/redoc.standalone.js",
        redoc_favicon_url=NO_ICON,
        with_google_fonts=False,
    )
    for path, page, source in (("/docs", swagger, SWAGGER), ("/redoc", redoc, REDOC)):
        text = bytes(page.body).decode()
        app.add_route(path, _serving(text, policy=policy_of(text, source=source)), include_in_schema=False)


def policy_of(page: str, *, source: str) -> str:
    """Lets run and load: the page's own inline scripts, by their hashes, what lies under `source`, our document."""
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


def _serving(page: str, *, policy: str) -> Callable[[Request], Awaitable[HTMLResponse]]:
    async def serve(_: Request) -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    return serve

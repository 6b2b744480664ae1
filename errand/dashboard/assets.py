"""The style sheet, the script and the icons: read once, named by what is in them, so that a browser may keep them."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Response

from errand.http.answers.problems import Problem

FOLDER = Path(__file__).parent / "static"

MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}

PATH = "/dashboard"
"""Of the dashboard, below that of the API."""

router = APIRouter(prefix=PATH, include_in_schema=False)


@lru_cache(maxsize=1)
def _assets() -> dict[str, tuple[str, bytes]]:
    """Each file's digest and content, by its name."""
    contents = {file.name: file.read_bytes() for file in FOLDER.iterdir() if file.suffix in MEDIA_TYPES}
    return {name: (sha256(content).hexdigest()[:12], content) for name, content in contents.items()}


def asset_path(name: str) -> str:
    """The path of that file below the dashboard's."""
    return f"/static/{_assets()[name][0]}/{name}"


@router.get("/static/{digest}/{name}")
async def get_asset(digest: str, name: str) -> Response:
    """Open to all: there is nothing of an installation in it."""
    known, content = _assets().get(name, ("", b""))
    if known != digest:
        raise Problem(404, "not-found", f"There is no file '{name[:100]}' of this version of the dashboard.")
    return Response(content, media_type=MEDIA_TYPES[Path(name).suffix], headers=KEPT)

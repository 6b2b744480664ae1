"""The pictures that a job has stored: those in the `outputs` of its result, as image jobs return them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from errand.job.stored_file import FILES_PATH
from errand.resources.storage import KEY

MAX_PICTURES = 12

MAX_SHOWN_BYTES = 1_000_000
"""A larger one is a link: the page would wait for it."""

BROWSERS_SHOW = frozenset(("jpeg", "png", "webp", "avif", "gif"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One of them."""

    path: str
    """Below the dashboard's."""
    width: int
    height: int
    size_bytes: int
    format: str

    @property
    def is_shown(self) -> bool:
        """True if it stands in the page itself."""
        return self.format in BROWSERS_SHOW and self.size_bytes <= MAX_SHOWN_BYTES


def pictures_of(result: Any) -> list[Picture]:
    """The first of them; none for any other result."""
    outputs = result.get("outputs") if isinstance(result, Mapping) else None
    if not isinstance(outputs, list):
        return []
    read = (_picture(output) for output in outputs[:MAX_PICTURES])
    return [picture for picture in read if picture is not None]


def _picture(output: Any) -> Picture | None:
    match output:
        case {"url": str(url), "width": int(width), "height": int(height), "bytes": int(size_bytes), "format": format}:
            key = url.removeprefix(FILES_PATH)
            if url.startswith(FILES_PATH) and KEY.fullmatch(key):
                path = f"/files/{quote(key)}"
                return Picture(path=path, width=width, height=height, size_bytes=size_bytes, format=str(format))
    return None

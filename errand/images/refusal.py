"""Why an image is refused, in words about this image alone: never a path, never what another image was like."""

from __future__ import annotations

from collections.abc import Collection

from errand.images.formats import FORMATS, READABLE, sniff


class ImageRefused(Exception):
    """The bytes are not an image that can be resized as asked; another attempt would not help."""


def not_an_image(start: bytes, extra: Collection[str] = ()) -> str:
    """What is said of a file whose first bytes, at least 256 if it has as many, are of no readable format.

    `extra`: the formats that this installation reads besides.
    """
    kind = sniff(start)
    readable = ", ".join([READABLE, *(name.upper() for name in extra)])
    if not start:
        return f"the file is empty: send an image ({readable})"
    if kind in FORMATS or kind.lower() in extra:
        return f"not an image that can be read ({readable}): it begins like {_shown(kind)} and is damaged or cut short"
    if kind:
        return f"not an image that can be read ({readable}): it is {kind}, convert it to one of these"
    return f"not an image that can be read ({readable})"


def damaged(kind: str, reason: str) -> str:
    """What is said of an image that cannot be decoded to its end."""
    if "not configured" in reason:
        return f"the {_shown(kind)} has a compression that is not read: {reason}"
    return f"the {_shown(kind)} is damaged or cut short{': ' if reason else ''}{reason}"


def _shown(kind: str) -> str:
    return "WebP" if kind == "webp" else kind.upper()

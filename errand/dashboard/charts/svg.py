"""Writes SVG elements with escaped attributes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup


def element(tag: str, *inside: str, **attributes: object) -> Markup:
    """`<tag …>inside</tag>`; what is inside is escaped unless it is an element, `_` in a name becomes `-`."""
    from markupsafe import Markup, escape

    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    written = "".join(f' {name}="{escape(_short(value))}"' for name, value in names.items())
    return Markup(f"<{tag}{written}>{''.join(str(escape(part)) for part in inside)}</{tag}>")  # noqa: S704  # escaped


def drawing(width: int, height: int, title: str, parts: Iterable[str]) -> Markup:
    """A whole picture that scales with its page; `title` says what it shows to who cannot see it."""
    box = {"viewBox": f"0 0 {width} {height}"}
    return element(
        "svg", element("title", title), *parts, **box, class_="chart", role="img", preserveAspectRatio="none"
    )


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value

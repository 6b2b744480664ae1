"""Renders a page, and says what a browser may do with it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errand.extras import needs

if TYPE_CHECKING:
    import jinja2

Page = str
Nav = Sequence[tuple[str, str]]
"""Texts and paths of the links that a page begins with."""

FOLDER = Path(__file__).parent


def can_render() -> bool:
    """True if Jinja2 is installed. It is not imported by that."""
    return find_spec("jinja2") is not None


def policy(*, forms: bool = False, frames: str = "'none'") -> str:
    """The `Content-Security-Policy`: the page's own style and nothing else, from nowhere.

    `forms`: they may be sent to where the page is from; `frames`: the origins whose pages may frame it.
    """
    style_hash = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{style_hash}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'self'" if forms else "form-action 'none'",
            f"frame-ancestors {frames}",
        )
    )


def page(template: str, **shown: Any) -> Page:
    """The HTML of that template. Whatever is shown is text in it, never markup."""
    return _environment(escaped=True).get_template(f"templates/{template}.html.j2").render(style=_style(), **shown)


def problem_page(detail: str) -> Page:
    """What is wrong, for people."""
    return page("problem", title="This did not work", nav=(), detail=detail)


def code(template: str, **shown: Any) -> str:
    """The text of that template, as it is."""
    return _environment(escaped=False).get_template(template).render(**shown)


@lru_cache(maxsize=1)
def _style() -> str:
    return (FOLDER / "templates" / "style.css").read_text()


@lru_cache(maxsize=2)
def _environment(*, escaped: bool) -> jinja2.Environment:
    with needs("webhooks"):
        import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=escaped,  # noqa: S701  # off for programs alone, which are no HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

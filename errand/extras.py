"""Optional parts of Errand: what is missing is said in one line, with what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

Extra = Literal[
    "mail",
    "providers",
    "dkim",
    "webhooks",
    "images",
    "heic",
    "bitmaps",
    "pdf",
    "embedded",
    "client",
    "dev",
    "otel",
    "sentry",
]


class ExtraMissing(ImportError):
    """A library of an extra is not installed."""


@contextmanager
def needs(extra: Extra) -> Iterator[None]:
    """Around imports: `with needs("mail"): import jinja2`. Raises ExtraMissing, which names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "errand":
            raise
        raise ExtraMissing(f"needs {error.name}: pip install 'errand[{extra}]'") from error


def require(extra: Extra, module: str) -> None:
    """Raises ExtraMissing if that module is not installed; does not import it."""
    if find_spec(module) is None:
        raise ExtraMissing(f"needs {module}: pip install 'errand[{extra}]'")

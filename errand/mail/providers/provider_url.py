"""Reads what the URLs of all providers have alike."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from urllib.parse import SplitResult, parse_qs


def options_of(parts: SplitResult, known: AbstractSet[str], not_readable: str) -> dict[str, str]:
    """The query of the URL. Raises ValueError with `not_readable` for an option that is not known, and for a path."""
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    if not options.keys() <= known or parts.path.strip("/") or parts.fragment or "" in options.values():
        raise ValueError(not_readable)
    return options

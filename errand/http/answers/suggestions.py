"""Which places the API has, for a request to one that it has not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

Paths = Mapping[str, Mapping[str, Any]]
"""Those of the OpenAPI document: operations by method, by path with `{parameters}`."""


MOST_NAMED = 3


def methods_at(paths: Paths, path: str) -> list[str]:
    """What may be done there, HEAD included; nothing where that is no place. Of two that match the plainer counts."""
    matching = [place for place in paths if _pattern(place).fullmatch(path)]
    if not matching:
        return []
    methods = {method.upper() for method in paths[min(matching, key=lambda place: place.count("{"))]}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def near(paths: Paths, path: str) -> list[str]:
    """Requests that may have been meant, such as `GET /v1/job-types`: what lies below, else what is spelt alike."""
    bare = path.rstrip("/")
    below = [place for place in paths if bare and place.startswith(f"{bare}/")]
    meant = [bare] if bare != path and methods_at(paths, bare) else below or get_close_matches(bare, paths, MOST_NAMED)
    return list(_requests(paths, meant))[:MOST_NAMED]


def _requests(paths: Paths, places: list[str]) -> Iterator[str]:
    for place in places:
        for method in methods_at(paths, place) or [method.upper() for method in paths[place]]:
            if method != "HEAD":
                yield f"{method} {place}"


def _pattern(place: str) -> re.Pattern[str]:
    """A file's key has slashes in it, everything else has none."""
    literal = re.split(r"\{(\w+)\}", place)
    parts = [re.escape(part) if number % 2 == 0 else "[^/]+" for number, part in enumerate(literal)]
    return re.compile("".join(parts)[: -len("[^/]+")] + ".+" if place.endswith("/{key}") else "".join(parts), re.DOTALL)

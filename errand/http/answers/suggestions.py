"""Suggests what a client may have meant when its request matches no route, such as `GET /v1/job-types`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

Paths = Mapping[str, Mapping[str, Any]]
"""The `paths` of the OpenAPI document: by path with `{parameters}`, the operations by method."""


MAX_SUGGESTIONS = 3


def methods_at(paths: Paths, path: str) -> list[str]:
    """The methods that the path allows, HEAD included; none if no route matches it.

    If several routes match, the one with the fewest parameters counts.
    """
    matching = [template for template in paths if _pattern(template).fullmatch(path)]
    if not matching:
        return []
    methods = {method.upper() for method in paths[min(matching, key=lambda template: template.count("{"))]}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def near(paths: Paths, path: str, *, root_path: str = "") -> list[str]:
    """Up to three requests that the client may have meant, such as `GET /v1/job-types`.

    They are the same path without a slash at its end, else the paths below it, else paths that are spelt alike.
    Each is written with `root_path`, under which the API is mounted.
    """
    bare = path.rstrip("/")
    below = [template for template in paths if bare and template.startswith(f"{bare}/")]
    meant = [bare] if bare != path and methods_at(paths, bare) else below
    meant = meant or get_close_matches(bare, paths, MAX_SUGGESTIONS)
    return [f"{method} {root_path}{template}" for method, template in _requests(paths, meant)][:MAX_SUGGESTIONS]


def _requests(paths: Paths, templates: Sequence[str]) -> Iterator[tuple[str, str]]:
    for template in templates:
        for method in methods_at(paths, template) or [method.upper() for method in paths[template]]:
            if method != "HEAD":
                yield method, template


def _pattern(template: str) -> re.Pattern[str]:
    """A file's key, and an address of mail, which end their paths, may contain slashes; no other parameter may."""
    literal = re.split(r"\{(\w+)\}", template)
    parts = [re.escape(part) if number % 2 == 0 else "[^/]+" for number, part in enumerate(literal)]
    if template.endswith(("/{key}", "/{address}")):
        # the split leaves an empty literal at the end
        parts[-2:] = [".+"]
    return re.compile("".join(parts), re.DOTALL)

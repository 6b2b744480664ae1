"""Writes JSON for people: coloured, and cut, so that a payload of any size makes a page of a bounded one.

The value is walked only as far as it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from errand.dashboard.wording import visible

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_CHARS = 20_000
"""Of one value on a page, its marks not counted."""

MAX_STRING_CHARS = 1_000

MAX_DEPTH = 12

INDENT = "  "

Token = tuple[str, str]
"""The class of a piece of text, and the text: `key`, `string`, `number`, `word`, `more`, or none."""


def json_html(value: Any) -> Markup:
    """The value as lines of JSON, in spans by what each part is."""
    from markupsafe import Markup, escape

    parts: list[str] = []
    left = MAX_CHARS
    for kind, text in _tokens(value, 0):
        left -= len(text)
        if left < 0:
            parts.append('\n<span class="j-more">… cut here: the whole is in the JSON of the job</span>')
            break
        parts.append(f'<span class="j-{kind}">{escape(text)}</span>' if kind else str(escape(text)))
    return Markup("".join(parts))  # noqa: S704  # every piece is escaped above


def _tokens(value: Any, depth: int) -> Iterator[Token]:
    match value:
        case dict() if value:
            yield from _members(((_name(name), inner) for name, inner in value.items()), "{}", depth)
        case list() | tuple() if value:
            yield from _members((((), inner) for inner in value), "[]", depth)
        case str():
            yield "string", _quoted(value)
        case bool() | None | dict() | list() | tuple():
            yield "word", json.dumps(value)
        case int() | float():
            yield "number", str(value)[:MAX_STRING_CHARS]
        case _:
            yield "string", _quoted(str(value))


def _members(members: Iterator[tuple[tuple[Token, ...], Any]], brackets: str, depth: int) -> Iterator[Token]:
    if depth >= MAX_DEPTH:
        yield "more", f"{brackets[0]} … {brackets[1]}"
        return
    yield "", f"{brackets[0]}\n"
    first = True
    for name, inner in members:
        yield "", ("" if first else ",\n") + INDENT * (depth + 1)
        first = False
        yield from name
        yield from _tokens(inner, depth + 1)
    yield "", f"\n{INDENT * depth}{brackets[1]}"


def _name(name: Any) -> tuple[Token, ...]:
    return ("key", _quoted(str(name))), ("", ": ")


def _quoted(text: str) -> str:
    """As JSON has it, but readable: only what cannot be seen is spelt out."""
    escaped = (
        text[: MAX_STRING_CHARS + 1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    )
    shown = visible(escaped[:MAX_STRING_CHARS], most=MAX_STRING_CHARS)
    return f'"{shown}"' if len(text) <= MAX_STRING_CHARS else f'"{shown}…" ({len(text):,} characters)'

"""A JSON Schema as the rows of a table: one for each field, those of nested objects too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 6
"""A model may hold itself, and so may a list."""

BOUNDS = {
    "format": "{}",
    "pattern": "like {}",
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
    "minLength": "characters: from {}",
    "maxLength": "characters: to {}",
    "minItems": "items: from {}",
    "maxItems": "items: to {}",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One field."""

    path: str
    """`lines[].price.currency`"""
    kind: str
    required: bool
    says: str
    """Its description and bounds."""


def rows_of(schema: Mapping[str, Any]) -> list[Row]:
    """The fields of an object, each before those in it."""
    return list(_rows(schema, schema, path="", depth=0))


def _rows(node: Mapping[str, Any], root: Mapping[str, Any], *, path: str, depth: int) -> Iterator[Row]:
    node = _resolved(node, root)
    if depth == MAX_DEPTH:
        return
    for name, child in node.get("properties", {}).items():
        own = f"{path}.{name}" if path else name
        yield Row(own, _kind(child, root, depth=0), name in node.get("required", ()), _says(child, root))
        for part in _parts(child, root):
            is_list = _resolved(part, root).get("type") == "array"
            inner = _resolved(part, root).get("items", {}) if is_list else part
            yield from _rows(inner, root, path=f"{own}[]" if is_list else own, depth=depth + 1)


def _resolved(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition that a `$ref` names; what stands beside it counts too."""
    reference = node.get("$ref", "")
    definition = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {}) if reference else {}
    return {**definition, **node}


def _parts(node: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas of which one applies; itself if it is no choice."""
    resolved = _resolved(node, root)
    return list(resolved.get("anyOf") or resolved.get("oneOf") or [resolved])


def _kind(node: Mapping[str, Any], root: Mapping[str, Any], *, depth: int) -> str:
    if depth == MAX_DEPTH:
        return "more of the same"
    parts = (_resolved(part, root) for part in _parts(node, root))
    return " or ".join(dict.fromkeys(_kind_of_one(part, root, depth=depth) for part in parts))


def _kind_of_one(node: Mapping[str, Any], root: Mapping[str, Any], *, depth: int) -> str:
    if "const" in node:
        return json.dumps(node["const"])
    if "enum" in node:
        return " or ".join(map(json.dumps, node["enum"]))
    if node.get("type") == "array":
        return f"list of {_kind(node.get('items', {}), root, depth=depth + 1)}"
    return str(node.get("type", "any"))


def _says(node: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    resolved = _resolved(node, root)
    parts = [resolved, *_parts(node, root)]
    bounds = [text.format(part[key]) for key, text in BOUNDS.items() for part in parts if key in part]
    return "; ".join(filter(None, [resolved.get("description", ""), *dict.fromkeys(bounds)]))

"""The page of the HTTP API, from its OpenAPI document."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from errand import create_api
from settings import Settings

HEAD = """# The HTTP API

Made from the service's own OpenAPI document, which it serves at `/openapi.json`. At `/docs` each request can be tried.
[The API](../api.md) is the guide.
"""

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")


def document() -> Mapping[str, Any]:
    """The OpenAPI document of a service with the shipped job types."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_api(Settings(data_dir=Path(folder)))
        opened: Mapping[str, Any] = app.openapi()
    return opened


def page() -> str:
    """Each operation under its tag."""
    operations = sorted(_operations(document()), key=lambda one: (one[2]["tags"][0], one[1], METHODS.index(one[0])))
    parts = [HEAD]
    for tag, of_tag in groupby(operations, key=lambda one: str(one[2]["tags"][0])):
        parts += [f"## {tag.capitalize()}\n", *(_operation(*one) for one in of_tag)]
    return "\n".join(parts)


def _operations(openapi: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                yield method, path, {"tags": ["other"], **operation}


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    text = operation.get("description") or operation.get("summary", "")
    lines = [f"### {method.upper()} {path}\n", f"{_plain(text)}\n"]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | meaning |", "|---|---|---|", *map(_parameter, parameters), ""]
    lines += [
        "| status | meaning |",
        "|---|---|",
        *(_answer(*one) for one in sorted(operation["responses"].items())),
        "",
    ]
    return "\n".join(lines)


def _parameter(parameter: Mapping[str, Any]) -> str:
    needed = ", required" if parameter.get("required") else ""
    return f"| `{parameter['name']}` | {parameter['in']}{needed} | {_cell(parameter.get('description', ''))} |"


def _answer(status: str, answer: Mapping[str, Any]) -> str:
    return f"| {status} | {_cell(answer.get('description', ''))} |"


def _cell(text: str) -> str:
    return _plain(text).replace("\n", " ").replace("|", "\\|")


def _plain(text: str) -> str:
    """Without what Markdown would take for HTML."""
    return text.replace("<", "&lt;")

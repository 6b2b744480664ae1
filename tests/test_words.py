"""The words of the code: one idea has one name, the field's, and none of the retired ones comes back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = [
    path
    for folder in ("errand", "jobs", "service")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".lua", ".j2"}
] + [ROOT / "settings.py"]

RETIRED = {
    "told": "answered, notified, said",
    "tell": "answer, notify, publish",
    "tells": "answers, notifies, publishes",
    "begun": "started",
    "lent": "resource",
    "lends": "gives",
    "abreast": "caught_up",
    "bury": "add_dead",
    "buried": "added as dead",
    "exhume": "remove_dead",
    "mend": "fix",
    "mends": "fixes",
    "mended": "fixed",
    "unfit": "invalid",
    "whoever": "the caller, a client, a worker",
    "farewell": "close",
    "goodbye": "close",
    "befall": "happen",
    "befalls": "happens",
    "bell": "wake-up",
    "courier": "Deliverer",
    "wanted": "filter",
    "terms": "options, conditions",
    "sound": "valid; of a script's call: call_or_reset",
    "chores": "tasks",
    "lend": "give, open",
    "rung": "woken, interrupted",
    "rang": "woke, interrupted",
    "heed": "follow",
    "befell": "happened",
    "whosoever": "the caller, a client, a worker",
}
"""Retired word → what to write instead."""

RETIRED_IN_NAMES = {
    "place": "path, position, address (say which)",
    "places": "paths, positions, addresses (say which)",
    "which": "filter, choice: what it is",
    "who": "what it is: client, worker, caller",
    "heard": "message, cancel: what it is",
}
"""The same for names alone: in a sentence these are English."""

ALLOWED = {
    ("errand/job/once.py", "begun"): "the value of a marker in Redis",
    ("errand/wire/keys.py", "bell"): "a part of a key's name in Redis",
    ("errand/http/routes/schedules.py", "unfit"): "a problem's `type`, which clients know",
    ("errand/http/answers/problem_kinds.py", "unfit"): "the same",
}


def words_of(text: str) -> set[str]:
    """Every word in it, those that make up a name in snake_case or CamelCase too."""
    split = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)
    return {word.lower() for word in re.findall(r"[A-Za-z]+", split)}


def test_no_retired_word() -> None:
    found = {path: words_of(path.read_text()) & RETIRED.keys() for path in SOURCES}
    said = [(str(path.relative_to(ROOT)), word) for path, words in found.items() for word in sorted(words)]
    assert {use: RETIRED[use[1]] for use in said if use not in ALLOWED} == {}


def names_in(tree: ast.AST) -> Iterator[str]:
    """Every name that code gives to something: functions, classes, parameters, variables."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.arg():
                yield node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.id


def test_no_retired_name() -> None:
    named = {path: set(names_in(ast.parse(path.read_text()))) for path in SOURCES if path.suffix == ".py"}
    found = [(str(path.relative_to(ROOT)), name) for path, names in named.items() for name in sorted(names)]
    assert [(path, name) for path, name in found if words_of(name) & RETIRED_IN_NAMES.keys()] == []
    assert [(path, name) for path, name in found if name.startswith("MOST")] == [], "a limit is a MAX_…"


def test_names_are_taken_apart() -> None:
    assert {"told", "mend", "begun"} <= words_of("def _was_told(x): MendAll; already_begun = 1")


def test_no_two_classes_of_one_name() -> None:
    seen: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.suffix == ".py" and path.parent != ROOT:
            for name in re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE):
                seen.setdefault(name, []).append(str(path.relative_to(ROOT)))
    twice = {name: files for name, files in seen.items() if len(files) > 1 and not name.startswith("_")}
    assert twice == {}

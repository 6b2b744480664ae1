"""The page of all keys in Redis, from the module that names them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from itertools import pairwise
from types import FunctionType

from errand.wire import keys

HEAD = """# Keys in Redis

Errand's keys begin with `errand:`, Arq's with `arq:`. Those of one queue name it, those of one job end in its id.
[Wire format](../how/wire-format.md) says what is in the most important ones.

| key | what it is |
|---|---|
"""

SPELT = {"queue": "QUEUE", "name": "NAME", "job_id": "ID", "type_name": "TYPE", "key": "KEY"}
"""Parameters, as the page shows them; others by their own name in capitals."""

NO_KEYS = {"queue_name", "type_in_key", "group_in_key"}
"""Functions that name no key, but a part of one."""


def page() -> str:
    """Each key with its first sentences, in the order in which the module has them."""
    return HEAD + "\n".join(f"| `{key}` | {text} |" for key, text in entries().items()) + "\n"


def entries() -> Mapping[str, str]:
    """What each key is, by the form of its name."""
    return dict(_constants()) | dict(_functions())


def _constants() -> Iterator[tuple[str, str]]:
    """The keys that there are once: a text in the module, and the docstring below it."""
    lines = ast.parse(inspect.getsource(keys)).body
    for line, below in pairwise(lines):
        if isinstance(line, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            value = getattr(keys, ast.unparse(line.targets[0]))
            if isinstance(value, str):
                yield value, _cell(str(below.value.value))


def _functions() -> Iterator[tuple[str, str]]:
    """The keys that there are for each queue, job or other thing."""
    for name, function in vars(keys).items():
        is_own = isinstance(function, FunctionType) and function.__module__ == keys.__name__
        if is_own and function.__annotations__["return"] == "str" and name not in NO_KEYS:
            names = [SPELT.get(one, one.upper()) for one in inspect.signature(function).parameters]
            yield function(*names), _cell(inspect.getdoc(function) or "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")

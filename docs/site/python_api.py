"""The page of the Python API: every public name of `errand`, from its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import errand
from errand.worker import Worker

COLUMNS = 90

HEAD = """# The Python API

`from errand import …` has every name on this page but `Worker`, which is in `errand.worker`, so that an app
does not load a worker.
"""


def page() -> str:
    """Each public name with its signature, its docstring, and its public methods."""
    names: dict[str, Any] = {name: getattr(errand, name) for name in sorted(errand.__all__)}
    return "\n".join([HEAD, *(_entry(name, value) for name, value in {**names, "Worker": Worker}.items())])


def _entry(name: str, value: Any) -> str:
    parts = [f"## {name}\n"]
    if callable(value):
        parts.append(f"```python\n{name}{_signature(value)}\n```\n")
    parts += [f"{_doc(value)}\n", *_methods(name, value)]
    return "\n".join(parts)


def _methods(name: str, value: Any) -> Iterator[str]:
    if not inspect.isclass(value) or not value.__module__.startswith("errand"):
        return
    for method, function in vars(value).items():
        if not method.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield f"### {name}.{method}\n\n```python\n{method}{_signature(function)}\n```\n\n{_doc(function)}\n"


def _signature(value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(…)"
    shown = str(signature).replace("typing.", "")
    if len(shown) <= COLUMNS:
        return shown
    return "\n".join(["(", *(f"    {parameter}," for parameter in signature.parameters.values()), ")"])


def _doc(value: Any) -> str:
    """The docstring; examples with `>>>` are set as code."""
    lines, code, text = (inspect.getdoc(value) or "").splitlines(), False, list[str]()
    for line in lines:
        starts = line.startswith((">>>", "..."))
        if starts != code:
            text += ["```pycon" if starts else "```"] if not code else ["```", ""]
            code = starts
        text.append(line)
    return "\n".join([*text, "```"] if code else text)

"""The page of the Python API: every public name of `errand`, from its docstring."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
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
    if inspect.isclass(value) or inspect.isroutine(value):
        parts.append(f"```python\n{name}{_signature(value)}\n```\n")
    parts += [f"{_doc(_text_below(name) or value)}\n", *_methods(name, value)]
    return "\n".join(parts)


def _text_below(name: str) -> str:
    """The docstring of a constant or an alias: the text below its assignment, which Python itself does not keep."""
    module = import_module(errand._LAZY.get(name, "errand"))
    for statement, below in pairwise(ast.parse(inspect.getsource(module)).body):
        if isinstance(statement, ast.Assign) and name in {ast.unparse(target) for target in statement.targets}:
            match below:
                case ast.Expr(ast.Constant(str(text))):
                    return text
    return ""


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
    """The docstring, or `value` if it is the text itself; examples with `>>>` are set as code."""
    doc = inspect.cleandoc(value) if isinstance(value, str) else inspect.getdoc(value) or ""
    lines, code, text = doc.splitlines(), False, list[str]()
    for line in lines:
        starts = line.startswith((">>>", "..."))
        if starts != code:
            text += ["```pycon" if starts else "```"] if not code else ["```", ""]
            code = starts
        text.append(line)
    return "\n".join([*text, "```"] if code else text)

"""The Python that pages show, as modules for mypy and pyright: `python -m docs.site.code_blocks` writes them.

Each block becomes a module, with every line where the page has it, so that what a checker says of a line leads there.

A block is whole: it imports and defines what it uses. One whose first line is `# in …` (`# in a job`) is a part: it has
`ctx`, `args`, `jobs` and `client`, and the names that `errand` exports; others that it lacks are taken as given, types
made of them and bodies of `...` too. One whose first line is the path of a module (`# myapp/jobs.py`) is that module
for the blocks of its page, and README's for those of pages that have none. One whose first line is `# conftest.py` or
`# test_….py` needs no annotations.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import errand

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "var" / "docs-code"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCED = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
OWN_MODULE = re.compile(r"\A# (myapp)/(\w+\.py)\n")

FUNCTION = "async def part() -> Any:\n"
"""What a part is in that waits or returns."""


@dataclass(frozen=True)
class Block:
    """A block of a page."""

    page: Path
    line: int
    """The number of the line above its first."""
    code: str

    @property
    def is_part(self) -> bool:
        return self.code.startswith("# in ")

    @property
    def own_module(self) -> str | None:
        """The file in `myapp` that it is."""
        found = OWN_MODULE.match(self.code)
        return found and found[2]

    @property
    def name(self) -> str:
        """Of the module: the page and the line."""
        path = self.page.relative_to(ROOT).with_suffix("")
        return f"{re.sub(r'[^a-z0-9]', '_', str(path).lower())}_l{self.line}"

    def module(self) -> str:
        """The text of the module."""
        # in the wheel they are errand.jobs
        code = re.sub(r"\berrand\.jobs\b", "jobs", self.code)
        if self.is_part:
            above = _given(code) + "\n" * (self.line - 1 - _given(code).count("\n"))
            return above + ("\n" + code if _is_module(code) else FUNCTION + indent(code, "    "))
        first = "# mypy: allow-untyped-defs\n" if re.match(r"# (conftest|test_\w+)\.py", code) else "\n"
        return first + "\n" * (self.line - 1) + code


def _given(part: str) -> str:
    """What stands above a part, in four lines; names that it imports itself are left to it."""
    imported = " ".join(re.findall(r"^(?:from \S+ )?import (.*)", part, re.MULTILINE))
    names = [name for name in errand.__all__ if not re.search(rf"\b{name}\b", imported)]
    return f"""# mypy: allow-untyped-defs, disable-error-code="name-defined,unreachable,empty-body,valid-type"
# pyright: reportUndefinedVariable=false, reportInvalidTypeForm=false
from typing import Any; import errand; from errand import {", ".join(names)}
ctx: errand.Context; args: Any; jobs: errand.Jobs; client: errand.Client
"""


def _is_module(code: str) -> bool:
    try:
        compile(code, "part", "exec")
    except SyntaxError:
        return False
    return True


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, from its top."""
    text = page.read_text()
    for found in FENCED.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, dedent(found[2]))


def write(folder: Path = FOLDER) -> None:
    """Fills `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for page in PAGES:
        blocks = list(blocks_of(page))
        has_own = page.name != "README.md" and any(block.own_module for block in blocks)
        app = f"myapp_of_{blocks[0].name}" if has_own else "myapp"
        for block in blocks:
            path = folder / app / block.own_module if block.own_module else folder / f"{block.name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(re.sub(r"\bmyapp\b(?=\.)", app, block.module()))
            if block.own_module:
                (path.parent / "__init__.py").touch()


if __name__ == "__main__":
    write()

"""Draws the diagrams of pages to pictures: the site loads nothing from another host, and so no script that would.

A page has them as text, in blocks of Mermaid, which code hosts draw by themselves. Each has a title for those who
cannot see it (`accTitle: …`). The site gets two pictures of each, for light and dark colours.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = "drawings"
"""Beside the pages."""

DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"^\s*accTitle: (.+)$", re.MULTILINE)
THEMES = {"light": "neutral", "dark": "dark"}
"""Of the site → of Mermaid."""

WHOLE_WIDTH = re.compile(r'width="100%"(.*?)viewBox="(\S+ \S+ (\S+) (\S+))"', re.DOTALL)
"""As a drawing says that it fills its page; the last two numbers are its own width and height."""


@dataclass(frozen=True)
class Diagram:
    """A diagram of a page."""

    page: Path
    number: int
    text: str

    @property
    def title(self) -> str:
        """Raises ValueError if it has none."""
        if found := TITLE.search(self.text):
            return found[1]
        raise ValueError(f"{self.page.name}: a diagram has no accTitle")

    def path(self, pages: Path, theme: str) -> Path:
        name = "-".join(self.page.relative_to(pages).with_suffix("").parts)
        return pages / FOLDER / f"{name}-{self.number}-{theme}.svg"

    def markdown(self, pages: Path) -> str:
        """Its two pictures, as the page shows them."""
        up = "../" * (len(self.page.relative_to(pages).parts) - 1)
        return "".join(
            f"![{self.title}]({up}{FOLDER}/{self.path(pages, theme).name}#only-{theme})\n" for theme in THEMES
        )


def put_pictures(pages: Path) -> None:
    """Puts pictures in place of the diagrams of all pages of that folder.

    Raises ValueError if a diagram has no title, or cannot be drawn.
    """
    diagrams = [diagram for page in sorted(pages.rglob("*.md")) for diagram in diagrams_of(page)]
    (pages / FOLDER).mkdir(exist_ok=True)
    for theme in THEMES:
        for diagram, drawn in zip(diagrams, draw([one.text for one in diagrams], theme), strict=True):
            diagram.path(pages, theme).write_text(drawn)
    for page in {diagram.page for diagram in diagrams}:
        pictures = iter([diagram.markdown(pages) for diagram in diagrams if diagram.page == page])
        page.write_text(DIAGRAM.sub(lambda _: next(pictures), page.read_text()))  # noqa: B023  # called at once


def diagrams_of(page: Path) -> list[Diagram]:
    return [Diagram(page, number, text) for number, text in enumerate(DIAGRAM.findall(page.read_text()), 1)]


def draw(diagrams: Sequence[str], theme: str) -> list[str]:
    """The diagrams as SVG, each in its own size. Raises ValueError, with the reason, if one cannot be drawn.

    In a process of its own: what mmdr loads beside its layout complains of itself when its process ends.
    """
    asked = json.dumps([f"%%{{init: {{'theme': '{THEMES[theme]}'}}}}%%\n{diagram}" for diagram in diagrams])
    command = [sys.executable, "-m", "docs.site.mermaid"]
    run = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    if run.returncode:
        raise ValueError(f"a diagram cannot be drawn: {run.stdout}{run.stderr}")
    return [
        WHOLE_WIDTH.sub(r'width="\3" height="\4"\1viewBox="\2"', drawn, count=1) for drawn in json.loads(run.stdout)
    ]

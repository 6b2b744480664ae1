"""Puts the pages of the site together: those that are written, and the reference that is made from the program."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.site import commands, drawings, http_api, licences, problems, python_api, redis_keys

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent

MADE: Mapping[str, Callable[[], str]] = {
    "reference/http.md": http_api.page,
    "reference/python.md": python_api.page,
    "reference/commands.md": commands.page,
    "reference/problems.md": problems.page,
    "reference/redis-keys.md": redis_keys.page,
    "reference/licences.md": licences.page,
}
"""Pages that are made from the program."""


def make(folder: Path) -> None:
    """Fills `folder`, which is emptied first, with all pages, pictures, examples and the site's configuration."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("site", "*.py", "__pycache__"))
    for page in pages.rglob("*.md"):
        page.write_text(_without_links_outside(page.read_text()))
    drawings.put_pictures(pages)
    changelog = (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "](")
    (pages / "changelog.md").write_text(_without_links_outside(changelog))
    for name, text_of in MADE.items():
        made = pages / name
        made.parent.mkdir(exist_ok=True)
        made.write_text(text_of())
    shutil.copy(Path(__file__).with_name("zensical.toml"), folder / "zensical.toml")


def _without_links_outside(page: str) -> str:
    """The page with the bare text of links to files of the repository, which the site does not have."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?:examples|errand|tests|README|SECURITY|CONTRIBUTING)[^)]*\)", r"\1", page)

"""Takes the pictures of the subjects that are named, or of all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.screenshots import dashboard, letter
from tests.screenshots.browser import Browser

FOLDER = Path(__file__).parents[2] / "docs" / "images"

SUBJECTS: Mapping[str, Callable[[Browser, Path], Awaitable[None]]] = {
    "letter": letter.take,
    "dashboard": dashboard.take,
}


async def main(names: list[str]) -> None:
    """Raises SystemExit for a subject that is not known."""
    if unknown := set(names) - SUBJECTS.keys():
        raise SystemExit(f"no pictures of {', '.join(sorted(unknown))}; there are: {', '.join(SUBJECTS)}")
    async with Browser.started() as browser:
        for name in names or SUBJECTS:
            await SUBJECTS[name](browser, FOLDER)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))

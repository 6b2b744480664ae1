"""Looks at pages in Chromium: how soon something is seen."""

from __future__ import annotations

import statistics
from typing import Any

import uvloop

from tests.bench.candidate import main
from tests.screenshots.browser import Browser

PAGES = ("", "/jobs", "/dead-jobs", "/workers")
LOOKS = 5
FIRST_PAINT = """new Promise((done) => new PerformanceObserver((seen) => {
  const paint = seen.getEntriesByName("first-contentful-paint")[0];
  if (paint) done(paint.startTime);
}).observe({type: "paint", buffered: true}))"""


async def paint(url: str, port: float) -> dict[str, Any]:
    """First contentful paint of some pages, from the start of the navigation on."""
    took_ms = []
    async with Browser.started() as browser:
        for page in PAGES * (1 + LOOKS):
            await browser.show(f"http://127.0.0.1:{int(port)}/dashboard{page}", width=1280, height=800, scheme="light")
            took_ms.append(await browser.value_of(FIRST_PAINT))
    took_ms = took_ms[len(PAGES) :]
    return {"p50_ms": statistics.median(took_ms), "worst_ms": max(took_ms)}


if __name__ == "__main__":
    main({"paint": paint}, uvloop.run)

"""Draws the chart of README from the figures of docs/benchmarks.md: `python -m docs.site.speed_chart` writes it."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent
CHART = DOCS / "images" / "throughput.svg"

ROW = re.compile(r"^\| (.+?) \|[^|]*\| ([\d,]+) jobs/s \|", re.MULTILINE)
WIDTH, BAR, GAP, LABELS, FIGURES = 720, 22, 10, 150, 90
"""In pixels: of the chart, of a bar and between two, of the names on the left and the figures on the right."""

TEXT, OURS, THEIRS = "#808080", "#2f9e6e", "#9aa4ad"
"""Colours that can be read on white and on black."""


def figures() -> dict[str, int]:
    """No-op jobs a second of one worker process, by name, the fastest first."""
    section = (DOCS / "benchmarks.md").read_text().partition("## Throughput")[2].partition("\n## ")[0]
    found = {name: int(figure.replace(",", "")) for name, figure in ROW.findall(section)}
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def chart() -> str:
    """The chart as SVG."""
    taken = figures()
    most, height = max(taken.values()), len(taken) * (BAR + GAP) + GAP
    said = ", ".join(f"{name} {figure:,}" for name, figure in taken.items())
    bars = [_bar(number, name, figure, most) for number, (name, figure) in enumerate(taken.items())]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'font-family="sans-serif" font-size="14" fill="{TEXT}">',
            f"<title>No-op jobs a second of one worker process: {said}</title>",
            *bars,
            "</svg>\n",
        ]
    )


def _bar(number: int, name: str, figure: int, most: int) -> str:
    top = GAP + number * (BAR + GAP)
    width = max(round(figure / most * (WIDTH - LABELS - FIGURES)), 1)
    middle = top + BAR * 0.72
    return (
        f'<text x="{LABELS - 10}" y="{middle:g}" text-anchor="end">{name}</text>'
        f'<rect x="{LABELS}" y="{top}" width="{width}" height="{BAR}" rx="3" fill="{THEIRS if number else OURS}"/>'
        f'<text x="{LABELS + width + 8}" y="{middle:g}">{figure:,}</text>'
    )


if __name__ == "__main__":
    CHART.write_text(chart())

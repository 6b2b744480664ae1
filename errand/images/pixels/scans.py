"""The scans of a JPEG: whether all of a progressive one have come, which its decoder does not ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path

MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Not a byte of data, nor a fill byte, nor one of the markers that stand within a scan (ITU T.81, B.1.1)."""

PROGRESSIVE, SCAN = 0xC2, 0xDA

COEFFICIENTS = 64


def lacks_scans(path: Path) -> bool:
    """True if a coefficient of a progressive JPEG has not come to its last bit (ITU T.81, G.1.1.1).

    Cut between two scans it is a whole JPEG to a decoder, but for its end marker, and shows a coarse picture.
    """
    with path.open("rb") as file, suppress(OSError), mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return any(_missing(content).values())
    return True  # larger than what this process may map: it stays as it is, cut


def _missing(content: mmap) -> dict[int, set[int]]:
    """By component, if it is progressive: the coefficients whose last bit no scan has."""
    missing: dict[int, set[int]] = {}
    for kind, segment in _segments(content):
        if kind == PROGRESSIVE:
            missing = {component: set(range(COEFFICIENTS)) for component in segment[6::3]}
        elif kind == SCAN and len(segment) > 3 and segment[-1] & 0xF == 0:
            for component in segment[1 : 1 + 2 * segment[0] : 2]:
                missing.get(component, set()).difference_update(range(segment[-3], segment[-2] + 1))
    return missing


def _segments(content: mmap) -> Iterator[tuple[int, bytes]]:
    """Marker by marker, with what follows it; what is cut off at the end is none."""
    at = 2
    while (found := MARKER.search(content, at)) is not None:
        start = found.end()
        at = start + int.from_bytes(content[start : start + 2], "big")
        if at > len(content) or at < start + 2:
            return
        yield content[start - 1], content[start + 2 : at]

"""Reads a `Range` (RFC 9110, section 14): a part of a file, for players and for downloads that go on."""

from __future__ import annotations

import re

ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
"""One part. Several, or another unit, are ignored, as section 14.2 allows: the answer is the whole file."""


class BehindTheEnd(Exception):
    """The file has no byte of that part."""


def part_of(given: str, size_bytes: int) -> tuple[int, int] | None:
    """The first byte and the one after the last; None if the whole file is to be sent. Raises BehindTheEnd."""
    found = ONE_RANGE.fullmatch(given.replace(" ", ""))
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(size_bytes - int(last), 0)
    end = min(int(last) + 1, size_bytes) if first and last else size_bytes
    if start >= size_bytes:
        raise BehindTheEnd
    return start, end

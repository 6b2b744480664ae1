"""Takes a JSON array of objects apart while it comes in, so that it never lies in memory whole.

Parsed at once, sixteen megabytes of `{},{},…` would take twenty times as many, and hold up all other requests.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Literal

STEPS_IN_A_TURN = 2_000
"""From bracket to bracket, or item to item: a few milliseconds."""


NO_ARRAY = "must be an array"


SPACES = re.compile(rb"[ \t\r\n]*")


OTHER, TEXT = rb'[^"\[\]{}]*', rb'"[^"\\]*(?:\\.[^"\\]*)*"'


INSIDE = re.compile(rb"%b(?:%b%b){0,64}([\[\]{}])?" % (OTHER, TEXT, OTHER), re.DOTALL)
"""Up to the next bracket that is in no string, or as far as it comes; the number bounds what the matching takes."""


def _nested(levels: int) -> bytes:
    """Matches an object or array so many levels deep. There is one way to: what fails has not been tried twice."""
    parts = rb"%b|%b" % (TEXT, _nested(levels - 1)) if levels > 1 else TEXT
    return rb"[\[{]%b(?:(?:%b)%b)*[\]}]" % (OTHER, parts, OTHER)


NEXT_ITEM = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*(%b)" % _nested(3), re.DOTALL)
"""The usual item behind another, at one go; what is deeper goes from bracket to bracket."""


class NotItems(ValueError):
    """This is no JSON array of objects; `index` says at which item it stops being one, if that is known."""

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class JsonItems:
    """The items of one array, as bytes: whether each of them is JSON is for its reader to see.

    `feed` it with what comes; `end` says that no more will.
    """

    def __init__(self, *, item_limit_bytes: int) -> None:
        self._item_limit_bytes = item_limit_bytes
        self._pieces: list[bytes] = []
        """What has not become an item yet."""
        self._size_bytes = self._enough_bytes = 0
        """Less than enough is not looked at: an item is not put together anew with each piece of it that comes."""
        self._seen = 0
        """So many of these bytes have been looked at."""
        self._depth = 0
        self._number = 0
        self._awaits: Literal["array", "first item", "item", "comma", "nothing"] = "array"
        """What comes next outside of items."""

    def feed(self, piece: bytes) -> Iterator[bytes | None]:
        """The items that this piece ends, and None if others should have a turn. Raises NotItems."""
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        if self._size_bytes >= self._enough_bytes:
            yield from self._look()

    def end(self) -> Iterator[bytes | None]:
        """The last items, and None as `feed` has it. Raises NotItems if the array has no end."""
        yield from self._look()
        if self._awaits != "nothing":
            raise NotItems(
                "must be an array" if self._awaits == "array" else "is not valid JSON: the array does not end"
            )

    def _look(self) -> Iterator[bytes | None]:
        text, started = b"".join(self._pieces), 0
        steps = 0
        while self._seen < len(text):
            steps += 1
            if steps % STEPS_IN_A_TURN == 0:
                yield None
            if self._depth == 1 and self._awaits == "comma" and (found := NEXT_ITEM.match(text, self._seen)):
                started, self._seen = found.span(1)
            elif self._depth <= 1:
                started = self._go_on_between(text)
                continue
            elif not self._go_on_inside(text):
                break
            if self._depth == 1:
                yield self._ended(text[started : self._seen])
                started = self._seen
        self._check_size(len(text) - started)
        self._pieces, self._size_bytes, self._seen = [text[started:]], len(text) - started, self._seen - started
        self._enough_bytes = 0 if started else 2 * self._size_bytes

    def _ended(self, item: bytes) -> bytes:
        self._check_size(len(item))
        self._number += 1
        return item

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._item_limit_bytes:
            raise NotItems(f"is longer than the {self._item_limit_bytes} bytes of one job", index=self._number)

    def _go_on_inside(self, text: bytes) -> bool:
        """Up to the next bracket of an item; False if the text ends before that."""
        found = INSIDE.match(text, self._seen)
        assert found is not None  # all of it is optional
        if found.end() == self._seen:
            return False
        self._seen = found.end()
        if found[1]:
            self._depth += 1 if found[1] in b"[{" else -1
        return True

    def _go_on_between(self, text: bytes) -> int:
        """Past the next character that belongs to no item; returns the index at which an item would begin."""
        at = SPACES.match(text, self._seen).end()  # type: ignore[union-attr]  # all of it is optional
        character, self._seen = text[at : at + 1], min(at + 1, len(text))
        if character in (b"{", b"[") and self._awaits in ("array", "first item", "item"):
            self._open(character)
            return at if self._depth > 1 else self._seen
        if character == b"]" and self._awaits in ("first item", "comma"):
            self._depth, self._awaits = 0, "nothing"
        elif character == b"," and self._awaits == "comma":
            self._awaits = "item"
        elif character:
            raise self._misplaced()
        return self._seen

    def _open(self, character: bytes) -> None:
        if self._awaits == "array" and character != b"[":
            raise self._misplaced()
        self._awaits = "first item" if self._awaits == "array" else "comma"
        self._depth += 1

    def _misplaced(self) -> NotItems:
        if self._awaits == "array":
            return NotItems(NO_ARRAY)
        if self._awaits == "nothing":
            return NotItems("is not valid JSON: something follows the end of the array")
        return NotItems("must be a JSON object, with a comma between it and the next", index=self._number)


async def items_of(pieces: AsyncIterator[bytes], *, item_limit_bytes: int) -> AsyncIterator[bytes]:
    """The items of the array that comes in these pieces. Raises NotItems."""
    items = JsonItems(item_limit_bytes=item_limit_bytes)
    async for piece in pieces:
        for item in items.feed(piece):
            if item is None:
                await asyncio.sleep(0)
            else:
                yield item
    for item in items.end():
        if item is None:
            await asyncio.sleep(0)
        else:
            yield item

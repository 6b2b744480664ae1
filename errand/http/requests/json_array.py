"""Takes a JSON array of objects apart while it comes in, so that it never lies in memory whole.

Parsed at once, sixteen megabytes of `{},{},…` would take twenty times as many, and hold up all other requests.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

from errand.http.requests import json_body

STEPS_IN_A_TURN = 2_000
"""From bracket to bracket, or item to item: a few milliseconds."""


NO_ARRAY = "must be an array"


BLANKS = b" \t\r\n"


SPACES = re.compile(rb"[ \t\r\n]*")


BEGINNING = re.compile(rb'[ \t\r\n]*(\{[ \t\r\n]*(?:"[^"\\]{0,64}"|\}))')
"""Of an object: its first name. The items of a usual array all begin so, and few of the objects in them do."""


TRIES = 4
"""An object within an item may begin as the items do."""


QUICK_BYTES = 64 * 1024
"""So much is parsed at once: a millisecond."""


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

    def go_on_behind(self, number: int) -> None:
        """To be called first: the bracket of the array, or so many items and a comma, have been taken by another."""
        self._depth, self._number, self._awaits = 1, number, "item" if number else "first item"

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


Stretch = tuple[list[Any], int]
"""Items, parsed, and how many bytes they had together."""


class JsonStretches:
    """The items of one array, parsed, many at a time. `feed` it with what comes; `end` says that no more will.

    A text up to what looks like the beginning of a later item is parsed at once. If it can be, it does end between two
    items: if it did not, a text, an object or an array in it would have no end. What cannot be parsed, or might be too
    much, goes through JsonItems, which finds out what is wrong with which item; and so does all that follows. An item
    of a batch takes a third of the time so.
    """

    def __init__(self, *, item_limit_bytes: int) -> None:
        self._item_limit_bytes = item_limit_bytes
        self._pieces: list[bytes] = []
        """What is behind the bracket of the array, or behind the comma of the last item, once `_is_open`."""
        self._size_bytes = self._enough_bytes = 0
        """Less than enough is not looked at, as by JsonItems."""
        self._is_open = False
        self._beginning = b""
        self._number = 0
        self._careful: JsonItems | None = None

    def feed(self, piece: bytes) -> Iterator[Stretch | None]:
        """What this piece ends, and None if others should have a turn. Raises NotItems, and Problem 422 for an item."""
        if self._careful is not None:
            yield from self._read(self._careful.feed(piece))
            return
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        if self._size_bytes >= self._enough_bytes:
            yield from self._look()

    def end(self) -> Iterator[Stretch | None]:
        """The last items, and None as `feed` has it. Raises NotItems if the array has no end, and Problem 422."""
        if self._careful is None:
            text = self._opened(b"".join(self._pieces))
            last, bracket, after = text.rpartition(b"]")
            values = self._parsed(last) if self._is_open and bracket and not after.strip(BLANKS) else None
            if values:
                yield values, len(last)
                return
            yield from self._go_carefully(text)
        assert self._careful is not None
        yield from self._read(self._careful.end())

    def _look(self) -> Iterator[Stretch | None]:
        text, at = self._opened(b"".join(self._pieces)), 0
        while (found := self._parsed_from(text, at)) is not None:
            values, end = found
            self._number += len(values)
            yield values, end - at
            at = end
        if len(text) - at > QUICK_BYTES:
            yield from self._go_carefully(text[at:])
            return
        self._pieces, self._size_bytes = [text[at:]], len(text) - at
        self._enough_bytes = 0 if at else 2 * self._size_bytes

    def _parsed_from(self, text: bytes, at: int) -> tuple[list[Any], int] | None:
        """The items up to the last that begins in so many bytes, and where that is; None if more must come, or if they
        cannot be parsed."""
        if not self._is_open:
            return None
        if not self._beginning and (first := BEGINNING.match(text)):
            self._beginning = first[1]
        end = at + QUICK_BYTES
        for _ in range(TRIES if self._beginning else 0):
            end = text.rfind(self._beginning, at + 1, end)
            items = text[at : max(end, at)].rstrip(BLANKS)
            if items[-1:] == b"," and (values := self._parsed(items[:-1])):
                return values, end
            if end < 0:
                break
        return None

    def _opened(self, text: bytes) -> bytes:
        """What is behind the bracket with which the array begins; all of the text before that has come, or if it is
        no array."""
        if not self._is_open:
            array = text.lstrip(BLANKS)
            if array[:1] == b"[":
                self._is_open = True
                return array[1:]
        return text

    def _parsed(self, items: bytes) -> list[Any] | None:
        return json_body.parsed_items(items) if len(items) <= self._item_limit_bytes else None

    def _go_carefully(self, text: bytes) -> Iterator[Stretch | None]:
        self._careful = JsonItems(item_limit_bytes=self._item_limit_bytes)
        if self._is_open:
            self._careful.go_on_behind(self._number)
        yield from self._read(self._careful.feed(text))

    def _read(self, items: Iterator[bytes | None]) -> Iterator[Stretch | None]:
        for item in items:
            if item is None:
                yield None
                continue
            yield [json_body.value_in(item, field=f"body.{self._number}")], len(item)
            self._number += 1


async def stretches_of(pieces: AsyncIterator[bytes], *, item_limit_bytes: int) -> AsyncIterator[Stretch]:
    """The items of the array that comes in these pieces. Raises NotItems, and Problem 422 for an item."""
    found = JsonStretches(item_limit_bytes=item_limit_bytes)
    async for piece in pieces:
        for stretch in found.feed(piece):
            if stretch is None:
                await asyncio.sleep(0)
            else:
                yield stretch
    for stretch in found.end():
        if stretch is None:
            await asyncio.sleep(0)
        else:
            yield stretch

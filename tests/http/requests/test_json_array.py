"""A JSON array is taken apart while it comes as a parser would take it apart at once, wherever the pieces are cut."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from itertools import chain, pairwise, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from errand.http.requests.json_array import STEPS_IN_A_TURN, JsonItems, NotItems, items_of

LIMIT_BYTES = 1_000_000
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\{}[],: \n\u00e9\U0001f600'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a"\\]}', max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=4) | st.lists(VALUES, max_size=4)


def taken(text: bytes, *, cuts: list[int]) -> list[Any]:
    """The items of an array that comes in pieces. Raises ValueError."""
    items = JsonItems(item_limit_bytes=LIMIT_BYTES)
    found: list[bytes | None] = []
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for start, end in pairwise(places):
        found += items.feed(text[start:end])
    found += items.end()
    return [from_json(item, allow_inf_nan=False) for item in found if item is not None]


def parsed(text: bytes) -> list[Any] | None:
    """What a parser makes of it; None where it is no array of objects and arrays."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
    fits = isinstance(value, list) and all(isinstance(item, dict | list) for item in value)
    return value if fits else None


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@given(st.lists(OBJECTS, max_size=6), st.sampled_from([None, 0, 2]), CUTS)
def test_the_items_are_those_that_a_parser_finds(objects: list[Any], indent: int | None, cuts: list[int]) -> None:
    text = json.dumps(objects, indent=indent, ensure_ascii=len(cuts) % 2 == 0).encode()
    assert taken(text, cuts=cuts) == objects


@given(
    st.lists(OBJECTS, max_size=4), st.integers(0, 10_000), st.sampled_from(list(' ,[]{}"\\x1')), st.integers(0, 2), CUTS
)
def test_whatever_a_parser_refuses_is_refused(
    objects: list[Any], place: int, sign: str, removed: int, cuts: list[int]
) -> None:
    text = json.dumps(objects).encode()
    at = place % (len(text) + 1)
    broken = text[:at] + sign.encode() + text[at + removed :]
    try:
        found: list[Any] | None = taken(broken, cuts=cuts)
    except ValueError:
        found = None
    assert found == parsed(broken)


@pytest.mark.parametrize(
    ("text", "message", "index"),
    [
        (b"", "must be an array", None),
        (b"   ", "must be an array", None),
        (b"{}", "must be an array", None),
        (b'"[]"', "must be an array", None),
        (b"[{}, 7]", "must be a JSON object", 1),
        (b"[{} {}]", "with a comma", 1),
        (b"[,{}]", "must be a JSON object", 0),
        (b"[{},]", "must be a JSON object", 1),
        (b"[{}", "does not end", None),
        (b'[{"a": "]', "does not end", None),
        (b"[{}] {}", "follows the end", None),
        (b'[{}, {"a": "' + b"x" * LIMIT_BYTES + b'"}]', "longer than the 1000000 bytes", 1),
    ],
)
def test_it_says_where_an_array_stops_being_one(text: bytes, message: str, index: int | None) -> None:
    for cuts in ([], list(range(1, min(len(text), 50)))):
        with pytest.raises(NotItems, match=message) as refused:
            taken(text, cuts=cuts)
        assert refused.value.index == index


def test_an_item_that_does_not_end_is_refused_before_all_of_it_has_come() -> None:
    items = JsonItems(item_limit_bytes=LIMIT_BYTES)
    pieces = chain([b'[{"a": "'], repeat(b"x" * 10_000, 3 * LIMIT_BYTES // 10_000))
    with pytest.raises(NotItems, match="longer"):
        list(chain.from_iterable(map(items.feed, pieces)))


@pytest.mark.parametrize("repeated", [b"{},", b'{"a":"\\n"},', b'{"a":["b","c"]},', b"{ },\n", b'{"a":{"b":{}}},'])
def test_what_was_taken_is_not_kept(repeated: bytes) -> None:
    items = JsonItems(item_limit_bytes=LIMIT_BYTES)
    piece = repeated * (65_536 // len(repeated))
    tracemalloc.start()
    try:
        list(items.feed(b"["))
        for _ in range(6):
            for _item in items.feed(piece):
                pass
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 200_000, "twice as much came"


@pytest.mark.parametrize("inside", [b"\\n", b"[", b"]", b'"",', b"{", b'\\"', b"\\\\", b"1,", b'"'])
def test_a_body_made_to_keep_it_busy_does_not(inside: bytes) -> None:
    def took_s(size: int) -> float:
        items = JsonItems(item_limit_bytes=size * 2)
        started_s = time.process_time()
        try:
            for start in (b'[{"a": "', b"[{"):
                list(items.feed(start))
                for _ in range(size // 1000):
                    list(items.feed(inside * (1000 // len(inside))))
        except NotItems:
            pass
        return time.process_time() - started_s

    short_s, long_s = min(took_s(100_000) for _ in range(3)), min(took_s(800_000) for _ in range(3))
    assert long_s < max(short_s, 0.005) * 24, "eight times as much takes about eight times as long"


@pytest.mark.parametrize("inside", [b"[],", b"[", b'{"a":'])
async def test_others_have_their_turn_while_one_item_is_looked_at(inside: bytes) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"[["
        for _ in range(10):
            yield inside * (50_000 // len(inside))

    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await asyncio.sleep(0)
    with pytest.raises(NotItems):
        [item async for item in items_of(pieces(), item_limit_bytes=LIMIT_BYTES)]
    await asyncio.sleep(0)
    beside.cancel()
    brackets = 10 * (50_000 // len(inside)) * sum(inside.count(sign) for sign in b"[]{}")
    assert turns >= brackets // STEPS_IN_A_TURN > 40

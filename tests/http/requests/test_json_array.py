"""A JSON array is taken apart while it comes as a parser would take it apart at once, wherever the pieces are cut."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from itertools import chain, pairwise, product, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from errand.http.answers.problems import Problem
from errand.http.requests import json_body
from errand.http.requests.json_array import (
    STEPS_IN_A_TURN,
    JsonItems,
    JsonStretches,
    NotItems,
    stretches_of,
)

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
    pieces = pieces_of(text, cuts)
    items = JsonItems(item_limit_bytes=LIMIT_BYTES)
    found = [*chain.from_iterable(map(items.feed, pieces)), *items.end()]
    return [from_json(item, allow_inf_nan=False) for item in found if item is not None]


def taken_at_once(text: bytes, *, cuts: list[int]) -> list[Any]:
    """The same, many items parsed at once. Raises Problem for an item, too."""
    stretches = JsonStretches(item_limit_bytes=LIMIT_BYTES)
    found = [*chain.from_iterable(map(stretches.feed, pieces_of(text, cuts))), *stretches.end()]
    return [value for stretch in found if stretch is not None for value in stretch[0]]


def pieces_of(text: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


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
    assert taken(text, cuts=cuts) == taken_at_once(text, cuts=cuts) == objects


@given(
    st.lists(OBJECTS, max_size=4), st.integers(0, 10_000), st.sampled_from(list(' ,[]{}"\\x1')), st.integers(0, 2), CUTS
)
def test_whatever_a_parser_refuses_is_refused(
    objects: list[Any], place: int, sign: str, removed: int, cuts: list[int]
) -> None:
    text = json.dumps(objects).encode()
    at = place % (len(text) + 1)
    broken = text[:at] + sign.encode() + text[at + removed :]
    for take in (taken, taken_at_once):
        try:
            found: list[Any] | None = take(broken, cuts=cuts)
        except (ValueError, Problem):
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
    for cuts, take in product(([], list(range(1, min(len(text), 50)))), (taken, taken_at_once)):
        with pytest.raises(NotItems, match=message) as refused:
            take(text, cuts=cuts)
        assert refused.value.index == index


def test_an_item_that_does_not_end_is_refused_before_all_of_it_has_come() -> None:
    items = JsonItems(item_limit_bytes=LIMIT_BYTES)
    pieces = chain([b'[{"a": "'], repeat(b"x" * 10_000, 3 * LIMIT_BYTES // 10_000))
    with pytest.raises(NotItems, match="longer"):
        list(chain.from_iterable(map(items.feed, pieces)))


@pytest.mark.parametrize("reader", [JsonItems, JsonStretches])
@pytest.mark.parametrize("repeated", [b"{},", b'{"a":"\\n"},', b'{"a":["b","c"]},', b"{ },\n", b'{"a":{"b":{}}},'])
def test_what_was_taken_is_not_kept(reader: type[JsonItems | JsonStretches], repeated: bytes) -> None:
    items = reader(item_limit_bytes=LIMIT_BYTES)
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
    most_at_once = 20_000 * 200 if reader is JsonStretches else 0
    assert most_bytes < 200_000 + most_at_once, "twice as much came"


@pytest.mark.parametrize("inside", [b"\\n", b"[", b"]", b'"",', b"{", b'\\"', b"\\\\", b"1,", b'"'])
@pytest.mark.parametrize("reader", [JsonItems, JsonStretches])
def test_a_body_made_to_keep_it_busy_does_not(reader: type[JsonItems | JsonStretches], inside: bytes) -> None:
    def took_s(size: int) -> float:
        items = reader(item_limit_bytes=size * 2)
        started_s = time.process_time()
        try:
            for start in (b'[{"a": "', b"[{"):
                list(items.feed(start))
                for _ in range(size // 1000):
                    list(items.feed(inside * (1000 // len(inside))))
        except (NotItems, Problem):
            pass
        return time.process_time() - started_s

    limit_s = 24 * max(min(took_s(100_000) for _ in range(3)), 0.005)
    assert any(took_s(800_000) < limit_s for _ in range(3)), "eight times as much takes about eight times as long"


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
        [stretch async for stretch in stretches_of(pieces(), item_limit_bytes=LIMIT_BYTES)]
    await asyncio.sleep(0)
    beside.cancel()
    brackets = 10 * (50_000 // len(inside)) * sum(inside.count(sign) for sign in b"[]{}")
    assert turns >= brackets // STEPS_IN_A_TURN > 40


@pytest.mark.parametrize("indent", [None, 1])
async def test_usual_items_are_parsed_together_and_what_is_in_doubt_goes_by_the_item(
    monkeypatch: pytest.MonkeyPatch, indent: int | None
) -> None:
    """Else a batch takes three times as long to read, or accepts what one job could not have."""
    usual = [{"id": f"1e{number:06}", "of": [{"id": number}, {}], "more": {}} for number in range(5_000)]
    doubtful = [*usual, {"n": [[]] * json_body.MAX_CONTAINERS}]
    one_by_one: list[str] = []
    monkeypatch.setattr(json_body, "value_in", lambda _, *, field: one_by_one.append(field))

    async def read(items: list[Any]) -> list[int]:
        async def pieces() -> AsyncIterator[bytes]:
            text = json.dumps(items, indent=indent).encode()
            for at in range(0, len(text), 50_000):
                yield text[at : at + 50_000]

        return [len(values) async for values, _ in stretches_of(pieces(), item_limit_bytes=LIMIT_BYTES)]

    together = await read(usual)
    assert sum(together) == 5_000 and len(together) < 40 and one_by_one == []
    await read(doubtful)
    assert one_by_one[-1] == "body.5000", "more parts than are read at once"


@pytest.mark.parametrize("number", [b"1e999", b"1E+400", b"-" + b"9" * 400 + b".5"])
def test_a_number_beyond_the_floats_is_refused_among_others(number: bytes) -> None:
    for text in (b'[{"a":0},{"a":%b},{"a":0}]' % number, b'[{"a":0},{"a":[{"b":%b},{}]}]' % number):
        with pytest.raises(Problem, match=r"body\.1"):
            taken_at_once(text, cuts=[])


def test_a_limit_of_one_item_holds_for_each_of_many() -> None:
    deep = b"[" * json_body.DEEP_LEVELS + b"]" * json_body.DEEP_LEVELS
    fits = b"[" * 100 + b"]" * 100
    assert len(taken_at_once(b"[" + b",".join([b'{"a":%b}' % fits] * 50) + b"]", cuts=[])) == 50
    with pytest.raises(Problem, match=r"body\.1"):
        taken_at_once(b'[{},{"a":[[[[[[[[[[[%b]]]]]]]]]]]},{}]' % deep, cuts=[])
    items = [b'{"a":"%b"}' % (b"x" * 600)] * 20 + [b'{"a":"%b"}' % (b"x" * 2_000)]
    stretches = JsonStretches(item_limit_bytes=1_000)
    with pytest.raises(NotItems, match="longer than the 1000 bytes") as refused:
        [*stretches.feed(b"[" + b",".join(items) + b"]"), *stretches.end()]
    assert refused.value.index == 20

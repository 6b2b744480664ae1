"""The fan-out: each live watcher is handed what its filter has, some watchers in each turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count

import pytest

from errand.events import fan_out as fan_out_module
from errand.events.change import Change
from errand.events.fan_out import MAX_BATCH_CHANGES, STEPS_PER_TURN, FanOut
from errand.events.watcher import MAX_BUFFERED, ChangeBatch, EventFilter, Watcher

numbers = count(1)


def change(job_id: str = "a", type: str = "fax") -> Change:
    number = next(numbers)
    at = (number, 0)
    return Change("default", at, "queued", job_id, type, 0, number=number, cursor=f"{number}-0@default")


def watcher(**filters: frozenset[str] | str) -> Watcher:
    return Watcher(EventFilter(**filters))  # type: ignore[arg-type]  # the tests name fields of one type each


def taken(watcher: Watcher) -> list[Change]:
    return [change for batch in watcher._batches for change in batch.changes]


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def handed_out(fan_out: FanOut) -> None:
    if (task := fan_out._handing_out) is not None:
        await task


@pytest.fixture
async def fan_out() -> AsyncIterator[FanOut]:
    fan_out = FanOut()
    yield fan_out
    fan_out.stop()


async def test_each_watcher_is_handed_what_its_filter_has(fan_out: FanOut) -> None:
    all_of_it, faxes, of_job = watcher(), watcher(types=frozenset({"fax"})), watcher(job_id="b")
    for one in (all_of_it, faxes, of_job):
        fan_out.add(one)
    fax, letter = change("a"), change("b", "letter")
    fan_out.publish(fax)
    fan_out.publish(letter)
    await handed_out(fan_out)
    assert [taken(one) for one in (all_of_it, faxes, of_job)] == [[fax, letter], [fax], [letter]]


async def test_a_watcher_that_joins_has_seen_what_was_published_before(fan_out: FanOut) -> None:
    first, second = watcher(), watcher()
    fan_out.add(first)
    before, after = change(), change()
    fan_out.publish(before)
    fan_out.add(second)
    fan_out.publish(after)
    await handed_out(fan_out)
    assert (taken(first), taken(second)) == ([before, after], [after])


async def test_requests_get_in_between_however_many_watch(fan_out: FanOut) -> None:
    """2,000 watchers that do not read, and a batch of 10,000 jobs: no turn of the loop has more than its steps."""
    turn, writes = 0, Counter[int]()

    def slow(batch: ChangeBatch) -> bool:
        writes[turn] += 1
        return True

    async def read(watcher: Watcher) -> None:
        await watcher.take()

    watchers = [watcher() for _ in range(2_000)]
    reading = [asyncio.create_task(read(one)) for one in watchers]
    await turns(1)
    for one in watchers:
        one.write = slow
        fan_out.add(one)
    for _ in range(MAX_BATCH_CHANGES * 2):
        fan_out.publish(change())
    while sum(writes.values()) < 2 * len(watchers):
        await asyncio.sleep(0)
        turn += 1
    assert max(writes.values()) <= STEPS_PER_TURN
    for task in reading:
        task.cancel()


async def test_filters_are_looked_at_in_steps_too(fan_out: FanOut) -> None:
    looks, turn = Counter[int](), 0

    class Counted(EventFilter):
        def has(self, change: Change) -> bool:
            looks[turn] += 1
            return False

    for index in range(1_000):
        fan_out.add(Watcher(Counted(types=frozenset({str(index)}))))
    fan_out.publish(change())
    while fan_out._handing_out is not None:
        await asyncio.sleep(0)
        turn += 1
    assert sum(looks.values()) == 1_000 and max(looks.values()) <= STEPS_PER_TURN


async def test_a_watcher_that_does_not_take_is_ended_and_keeps_nothing(fan_out: FanOut) -> None:
    lazy = watcher()
    fan_out.add(lazy)
    for _ in range(MAX_BUFFERED):
        fan_out.publish(change())
    await handed_out(fan_out)
    assert (lazy.ended, len(taken(lazy))) == (None, MAX_BUFFERED)
    fan_out.publish(change())
    await handed_out(fan_out)
    assert (lazy.ended, await lazy.take()) == ("slow", [])


async def test_a_watcher_to_which_nothing_can_be_written_hinders_no_other(fan_out: FanOut) -> None:
    def broken(batch: ChangeBatch) -> bool:
        raise RuntimeError("no way")

    first, second = watcher(), watcher()
    reading = asyncio.create_task(first.take())
    await turns(1)
    first.write = broken
    fan_out.add(first)
    fan_out.add(second)
    one, other = change(), change()
    fan_out.publish(one)
    await handed_out(fan_out)
    fan_out.publish(other)
    await handed_out(fan_out)
    assert (first.ended, taken(second)) == ("missed", [one, other])
    assert await reading == []


async def test_a_cursor_is_never_past_what_a_watcher_has_yet_to_receive(fan_out: FanOut) -> None:
    reading, other = watcher(types=frozenset({"fax"})), watcher(types=frozenset({"letter"}))
    fan_out.add(reading)
    fan_out.add(other)
    assert fan_out.caught_up_cursor(reading, "newest") == "newest"
    first = change()
    fan_out.publish(first)
    assert fan_out.caught_up_cursor(reading, "newest") is None, "nothing has been handed out since it joined"
    await handed_out(fan_out)
    assert fan_out.caught_up_cursor(reading, "newest") is None, "it has not taken the change"
    await reading.take()
    assert fan_out.caught_up_cursor(reading, "newest") == "newest"
    fan_out.publish(change())
    assert fan_out.caught_up_cursor(other, "newest") == first.cursor
    late = watcher()
    fan_out.add(late)
    assert fan_out.caught_up_cursor(late, "newest") is None, "it joined after the cursor"


async def test_watchers_are_ended_if_more_changes_than_can_be_handed_out(
    fan_out: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out_module, "MAX_BACKLOG", 10)
    fan_out.stop()
    fan_out._published_number = fan_out._handed_out_number = next(numbers)
    one = watcher()
    fan_out.add(one)
    for _ in range(11):
        fan_out.publish(change())
    assert (one.ended, len(fan_out._backlog)) == ("missed", 0)

"""The schedules that Redis keeps."""

from __future__ import annotations

import asyncio

import pytest
from arq.connections import ArqRedis

from errand.job.schedule import Schedule
from errand.schedules import store as schedules
from errand.schedules.store import KeptSchedule, Schedules
from errand.wire import keys

HOURLY, DAILY = Schedule("0 * * * *"), Schedule("0 0 * * *", timezone="Europe/Berlin", args={"of": "x"})


@pytest.fixture
def kept(redis: ArqRedis) -> Schedules:
    return Schedules(redis)


async def read(kept: Schedules, schedule_id: str) -> KeptSchedule:
    found = await kept.read(schedule_id)
    assert found is not None
    return found


async def test_a_schedule_is_kept_and_its_first_time_is_the_next_by_the_servers_clock(kept: Schedules) -> None:
    assert await kept.put("a", "report", DAILY, source="http") == "created"
    found = await read(kept, "a")
    assert (found.type, found.schedule, found.source, found.paused) == ("report", DAILY, "http", False)
    assert found.next_ms == DAILY.next_after(await kept.now_ms())
    assert found.coming_ms[0] == found.next_ms and len(set(found.coming_ms)) == 5
    assert (found.last_fire, found.last_missed_ms, found.problem) == (None, None, None)
    assert found.created_ms == found.updated_ms
    assert await kept.read("b") is None


async def test_the_same_again_changes_nothing_and_another_definition_counts_anew(
    redis: ArqRedis, kept: Schedules
) -> None:
    await kept.put("a", "report", DAILY, source="http")
    first = await read(kept, "a")
    await redis.zadd(keys.SCHEDULES, {"a": 1})
    assert await kept.put("a", "report", DAILY, source="http") == "unchanged"
    assert (await read(kept, "a")).next_ms == 1
    assert await kept.put("a", "report", HOURLY, source="http") == "replaced"
    second = await read(kept, "a")
    assert second.schedule == HOURLY and second.next_ms == HOURLY.next_after(await kept.now_ms())
    assert second.revision != first.revision and second.created_ms == first.created_ms


async def test_what_code_defines_and_what_http_made_do_not_take_each_others_ids(kept: Schedules) -> None:
    await kept.put("a", "report", DAILY, source="http")
    assert await kept.put("a", "report", DAILY, source="code") == "other source"
    await kept.put("b", "report", DAILY, source="code")
    assert await kept.put("b", "report", HOURLY, source="http") == "other source"
    assert [found.schedule for found in await kept.all()] == [DAILY, DAILY]


async def test_a_paused_schedule_has_no_times_until_it_is_resumed(redis: ArqRedis, kept: Schedules) -> None:
    await kept.put("a", "report", HOURLY, source="http")
    for _ in range(2):
        paused = await kept.pause("a")
        assert paused is not None and (paused.paused, paused.next_ms, paused.coming_ms) == (True, None, [])
    assert await kept.put("a", "report", DAILY, source="http") == "replaced"
    still = await read(kept, "a")
    assert (still.paused, still.next_ms) == (True, None), "another definition ends no pause"
    resumed = await kept.resume("a")
    assert resumed is not None and not resumed.paused
    assert resumed.next_ms == DAILY.next_after(await kept.now_ms())
    await redis.zadd(keys.SCHEDULES, {"a": 1})
    again = await kept.resume("a")
    assert again is not None and again.next_ms == 1, "nothing that is due is passed over"
    assert await kept.pause("b") is None and await kept.resume("b") is None


async def test_what_was_changed_since_it_was_read_is_not_removed(redis: ArqRedis, kept: Schedules) -> None:
    await kept.put("a", "report", HOURLY, source="http")
    stale = await read(kept, "a")
    await kept.put("a", "report", DAILY, source="http")
    assert not await kept.remove(stale)
    assert await kept.remove(await read(kept, "a"))
    assert await kept.read("a") is None
    assert await redis.keys("errand:schedule*") == []


async def test_pages_go_through_all_in_the_order_of_their_ids(kept: Schedules) -> None:
    for schedule_id in ("d", "b", "a", "c", "e"):
        await kept.put(schedule_id, "report", HOURLY, source="http")
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page, after = await kept.page(after=after, most=2)
        seen += [found.id for found in page]
    assert seen == ["a", "b", "c", "d", "e"]


async def test_there_is_a_bound_to_how_many_and_how_large_they_are(
    kept: Schedules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 3)
    answers = await asyncio.gather(*(kept.put(f"s{n}", "report", HOURLY, source="http") for n in range(5)))
    assert sorted(answers) == ["created", "created", "created", "full", "full"]
    here = next(found.id for found in await kept.all())
    assert await kept.put(here, "report", DAILY, source="http") == "replaced"
    with pytest.raises(ValueError, match="over the limit of 65536"):
        await kept.put("large", "report", Schedule("* * * * *", args={"of": "x" * 70_000}), source="http")


async def test_one_that_cannot_be_read_hides_no_others(redis: ArqRedis, kept: Schedules) -> None:
    for schedule_id in ("a", "b", "c"):
        await kept.put(schedule_id, "report", HOURLY, source="http")
    await redis.hset(keys.schedule("b"), "definition", '{"type": "report", "cron": "from the future"}')  # type: ignore[misc]
    assert [found.id for found in await kept.all()] == ["a", "c"]

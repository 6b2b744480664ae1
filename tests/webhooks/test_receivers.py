"""No receiver takes the slots, or the time, of another."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from errand.job.control import Snooze
from errand.webhooks.receivers import LATEST_S, SOONEST_S, Receivers


async def hold(receivers: Receivers, name: str, stack: AsyncExitStack, *, limit: int = 100) -> bool:
    """Starts an exchange that lasts as long as the stack; False if it is put back."""
    try:
        await stack.enter_async_context(receivers.turn((name, limit)))
    except Snooze:
        return False
    return True


async def held_by_each(receivers: Receivers, names: int, stack: AsyncExitStack) -> list[int]:
    """How many slots each of so many hanging receivers can get, all asking again and again."""
    return [sum([await hold(receivers, f"hangs{n}", stack) for _ in range(60)]) for n in range(names)]


@pytest.fixture(autouse=True)
def _no_turn_comes_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errand.webhooks.receivers.TURN_LIMIT_S", 0.0)


async def test_one_that_hangs_takes_less_than_half_of_the_slots() -> None:
    async with AsyncExitStack() as stack:
        assert await held_by_each(Receivers(slots=40), 1, stack) == [18]


async def test_however_many_hang_there_are_slots_for_the_next() -> None:
    receivers = Receivers(slots=60)
    async with AsyncExitStack() as stack:
        held = await held_by_each(receivers, 9, stack)
        assert sum(held) < 60
        assert await hold(receivers, "fine", stack)


async def test_a_receiver_has_no_more_at_once_than_its_limit() -> None:
    receivers = Receivers(slots=100)
    async with AsyncExitStack() as stack:
        assert [await hold(receivers, "one", stack, limit=2) for _ in range(3)] == [True, True, False]
        assert await hold(receivers, "two", stack, limit=2)
    async with AsyncExitStack() as stack:
        assert await hold(receivers, "one", stack, limit=2), "what it held is free again"


async def test_those_that_are_put_back_come_back_one_after_another_and_within_a_minute() -> None:
    receivers, waits_s = Receivers(slots=100), []
    async with AsyncExitStack() as stack:
        await hold(receivers, "slow", stack, limit=1)
        for _ in range(1_000):
            with pytest.raises(Snooze) as put_back:
                await receivers.turn(("slow", 1)).__aenter__()
            assert put_back.value.code == "endpoint_busy"
            waits_s.append(put_back.value.after_s)
    assert min(waits_s) >= SOONEST_S
    assert waits_s[:8] == sorted(waits_s[:8]) and waits_s[0] < 1
    assert LATEST_S / 2 <= waits_s[-1] <= LATEST_S


async def test_the_backlog_of_one_that_hangs_from_the_start_is_spread_over_a_minute() -> None:
    """10,000 deliveries, all looked at before its first exchange has lasted a second."""
    receivers, waits_s = Receivers(slots=500), []
    async with AsyncExitStack() as stack:
        for _ in range(100):
            await hold(receivers, "hangs", stack)
        for _ in range(10_000):
            with pytest.raises(Snooze) as put_back:
                await receivers.turn(("hangs", 100)).__aenter__()
            waits_s.append(put_back.value.after_s)
    assert sum(wait_s < 10 for wait_s in waits_s) < 2_000
    assert sum(wait_s > LATEST_S / 2 for wait_s in waits_s) > 5_000


async def test_a_turn_that_comes_soon_is_waited_for_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errand.webhooks.receivers.TURN_LIMIT_S", 30.0)
    receivers, order, at_once = Receivers(slots=100), [], 0

    async def deliver(number: int) -> None:
        nonlocal at_once
        async with receivers.turn(("one", 2)):
            at_once += 1
            assert at_once <= 2
            order.append(number)
            await asyncio.sleep(0)
            at_once -= 1

    await asyncio.gather(*map(deliver, range(20)))
    assert order == list(range(20))


async def test_a_delivery_that_is_cancelled_while_it_waits_passes_its_turn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errand.webhooks.receivers.TURN_LIMIT_S", 30.0)
    receivers, release, started = Receivers(slots=100), asyncio.Event(), []

    async def deliver(number: int) -> None:
        async with receivers.turn(("one", 1)):
            started.append(number)
            await release.wait()

    first, second, third = tasks = [asyncio.create_task(deliver(number)) for number in range(3)]
    await asyncio.sleep(0)
    release.set()
    await first  # the turn is the second's now
    second.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert third.exception() is None and started[-1] == 2

"""No receiver takes the slots, or the time, of another."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from errand.job.control import Snooze
from errand.webhooks.turns.receivers import FAR_OFF_S, STUCK, Receivers


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
    monkeypatch.setattr("errand.webhooks.turns.receivers.TURN_LIMIT_S", 0.0)


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


async def put_back(receivers: Receivers, name: str, *, limit: int) -> Snooze:
    with pytest.raises(Snooze) as error:
        await receivers.turn((name, limit)).__aenter__()
    return error.value


async def test_those_that_are_put_back_are_due_again_in_their_order_and_not_many_at_once() -> None:
    receivers = Receivers(slots=100)
    async with AsyncExitStack() as stack:
        await hold(receivers, "slow", stack, limit=1)
        snoozed = [await put_back(receivers, "slow", limit=1) for _ in range(1_000)]
    assert {each.code for each in snoozed} == {"endpoint_busy"} and {each.waits_for for each in snoozed} == {"slow"}
    waits_s = [each.after_s for each in snoozed]
    assert min(waits_s) >= FAR_OFF_S - 1 and waits_s[-1] - waits_s[0] > 3


async def test_there_is_room_for_as_many_as_would_not_be_put_back() -> None:
    receivers = Receivers(slots=40)
    assert receivers.room(("one", 5)) == 5
    async with AsyncExitStack() as stack:
        for _ in range(3):
            assert await hold(receivers, "one", stack, limit=5)
        assert receivers.room(("one", 5)) == 2
        receivers.expect("one", 2)
        assert receivers.room(("one", 5)) == 0, "two are on their way"
        assert [await hold(receivers, "one", stack, limit=5) for _ in range(3)] == [True, True, False]
        assert receivers.room(("two", 100)) == (40 - 5 - 4) // 2, "its share of the slots"
        assert [await hold(receivers, "two", stack) for _ in range(16)] == [True] * 15 + [False]
        assert receivers.room(("two", 100)) == 0
        assert receivers.room(("three", 100)) == 8, "there is always some for another"
    assert receivers.room(("one", 5)) == 5


async def test_one_that_ends_nothing_while_many_wait_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errand.webhooks.turns.receivers.STUCK_S", 0.0)
    receivers = Receivers(slots=40)
    async with AsyncExitStack() as stack:
        await hold(receivers, "one", stack, limit=1)
        for _ in range(STUCK):
            assert not receivers.is_stuck("one")
            await put_back(receivers, "one", limit=1)
        assert receivers.is_stuck("one")
    assert not receivers.is_stuck("one")


async def test_a_turn_that_comes_soon_is_waited_for_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errand.webhooks.turns.receivers.TURN_LIMIT_S", 30.0)
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
    monkeypatch.setattr("errand.webhooks.turns.receivers.TURN_LIMIT_S", 30.0)
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


async def test_one_that_answers_at_once_has_a_turn_soon_though_it_holds_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All slots are taken, as in a burst: to put deliveries back would cost as much as to make them."""
    monkeypatch.setattr("errand.webhooks.turns.receivers.TURN_LIMIT_S", 30.0)
    monkeypatch.setattr("errand.webhooks.turns.receivers.SHORT_TURN_S", 30.0)
    receivers, made = Receivers(slots=40), []

    async def deliver(name: str) -> None:
        async with receivers.turn((name, 100)):
            await asyncio.sleep(0)
            made.append(name)

    await asyncio.gather(*(deliver(f"quick{number % 4}") for number in range(40)))
    assert len(made) == 40


async def test_one_that_hangs_has_no_turn_beyond_its_share() -> None:
    receivers = Receivers(slots=40)
    async with AsyncExitStack() as stack:
        for _ in range(18):
            assert await hold(receivers, "hangs", stack)
        receivers.of(("hangs", 100))._mean_s = 20.0
        assert (await put_back(receivers, "hangs", limit=100)).waits_for == "hangs"

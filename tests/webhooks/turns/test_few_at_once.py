"""What comes all at once is spread over turns of the event loop."""

from __future__ import annotations

import asyncio

from errand.webhooks.turns.few_at_once import FewAtOnce


async def test_a_few_pass_in_each_turn_in_their_order() -> None:
    gate, passed, of_turns = FewAtOnce(5), list[int](), list[int]()

    async def pass_through(number: int) -> None:
        await gate.turn()
        passed.append(number)

    tasks = [asyncio.create_task(pass_through(number)) for number in range(21)]
    await asyncio.sleep(0)
    tasks[6].cancel()
    while len(passed) < 20:
        of_turns.append(len(passed))
        await asyncio.sleep(0)
    assert passed == [number for number in range(21) if number != 6]
    grown = [after - before for before, after in zip([0, *of_turns], [*of_turns, 20], strict=True)]
    assert max(grown) == 5


async def test_who_comes_alone_does_not_wait() -> None:
    gate = FewAtOnce(1)
    for _ in range(3):
        asked = gate.turn()
        assert list(asked.__await__()) == []
        for _ in range(3):
            await asyncio.sleep(0)

"""Jobs of one module, put from anywhere: by their type, by name, and from a program without an event loop.

JOB_PACKAGES=examples.orders .venv/bin/python -m errand worker     # a worker that knows these jobs
.venv/bin/python -m examples.orders                                # puts some, in a second terminal
"""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

from pydantic import BaseModel, Field

from errand import Client, Context, Fail, Settings, SyncClient, job


class Order(BaseModel):
    """What a customer has ordered."""

    id: int
    items: list[str] = Field(min_length=1)


class Confirmation(BaseModel):
    """What the customer is sent."""

    order: int
    ships_on: date


@job(max_tries=3, timeout_s=30)
async def confirm(ctx: Context, args: Order) -> Confirmation:
    """Confirms an order, and has it packed."""
    await ctx.progress(0.5, "in stock")
    # from another job it is the same call as from anywhere
    await pack.options(unique_key=f"order-{args.id}").enqueue(id=args.id, items=args.items)
    return Confirmation(order=args.id, ships_on=date(2030, 1, 31))


@job(max_tries=3, timeout_s=30)
async def pack(ctx: Context, args: Order) -> int:
    """Packs an order; returns the number of its parcels."""
    if "anvil" in args.items:
        raise Fail("too heavy")
    return len(args.items)


async def by_type(settings: Settings) -> Confirmation:
    """Type checkers and the model know the args, and what comes back."""
    async with Client(settings):
        order = await confirm.enqueue(id=7, items=["hammer"])
        async for event in order.events():
            print(event.status, event.progress.note if event.progress else "")  # noqa: T201
        return await order.result(timeout_s=30)


async def many(settings: Settings) -> list[int]:
    """Up to 10,000 in one call, all or none."""
    async with Client(settings):
        orders = await pack.enqueue_many([Order(id=number, items=["nail"] * number) for number in (1, 2, 3)])
        return [await order.result(timeout_s=30) for order in orders]


async def by_name(settings: Settings) -> Any:
    """A program that does not have this module: the args are checked by the schema that workers publish."""
    async with Client(settings) as client:
        order = await client.enqueue("pack", {"id": 8, "items": ["saw"]}, delay="10ms", max_tries=1)
        return await order.result(timeout_s=30)


def without_a_loop(settings: Settings) -> str:
    """Django, Flask, a script: the same calls, without `await`."""
    with SyncClient(settings) as client:
        later = client.options(delay="1h").enqueue(pack, id=9, items=["rope"])
        return later.cancel()


if __name__ == "__main__":
    settings = Settings.read()
    print(asyncio.run(by_type(settings)))  # noqa: T201
    print(asyncio.run(many(settings)), asyncio.run(by_name(settings)), without_a_loop(settings))  # noqa: T201

"""A nightly report: the shops of the day are read one beside the other, joined in a page, and the page is mailed.

JOB_PACKAGES=examples.nightly .venv/bin/python -m errand worker
.venv/bin/python -m examples.nightly                       # does not wait for the night
"""

from __future__ import annotations

import asyncio
from datetime import date

from pydantic import BaseModel

from errand import OUTCOMES, PREVIOUS, Chain, Client, Context, Fail, Schedule, Settings, chain, group, job

SHOPS = {"Berlin": [10, 20], "Oslo": [12], "Rome": [7, 1]}


class Outside:
    """What the steps meet in the world; here lists, and a shop whose books may be shut."""

    letters: list[str] = []  # noqa: RUF012
    shut: set[str] = set()  # noqa: RUF012


class Day(BaseModel):
    """The day to report on; None: the day on which the job was put."""

    day: date | None = None


class Shop(BaseModel):
    """What is read of one shop."""

    name: str
    day: date


class Error(BaseModel):
    """Why a shop could not be read."""

    type: str
    message: str


class Outcome(BaseModel):
    """How a job of the group has ended."""

    id: str
    status: str
    result: int | None
    error: Error | None


class Sales(BaseModel):
    """All shops, as they were read."""

    day: date
    shops: list[Outcome]


class Page(BaseModel):
    """A page to send."""

    text: str
    to: str


@job(max_tries=2, timeout_s=60)
async def read_shop(ctx: Context, args: Shop) -> int:
    """What a shop has sold."""
    if args.name in Outside.shut:
        raise Fail(f"the books of {args.name} are shut")
    return sum(SHOPS[args.name])


@job(max_tries=3, timeout_s=60)
def render_page(ctx: Context, args: Sales) -> str:
    """The page, with those that could not be read. A `def` may block: it has a thread."""
    read = [shop.result or 0 for shop in args.shops if shop.status == "succeeded"]
    missing = [shop.error.message for shop in args.shops if shop.error is not None]
    return "; ".join([f"{args.day}: {sum(read)} in {len(read)} shops", *missing])


@job(max_tries=8, timeout_s=60)
async def mail_page(ctx: Context, args: Page) -> None:
    """Sends it under one id, however often it is tried."""
    sent = await ctx.once("letter")
    if not sent.done:
        await sent.start()
        Outside.letters.append(f"{args.to}: {args.text}")
        await sent.finish()


@job(schedule=Schedule("0 3 * * *", timezone="Europe/Berlin"), max_tries=5, timeout_s=60)
async def nightly_report(ctx: Context, args: Day) -> str:
    """Has all steps follow, with its own success; returns the id of the last one."""
    return ctx.add_task(report_of(args.day or ctx.enqueued_at.date())).id


def report_of(day: date) -> Chain[None]:
    """The shops beside each other, then the page, then the letter. One that cannot be read does not keep the others."""
    shops = group(
        *(read_shop.s(name=name, day=day) for name in SHOPS),
        then=render_page.s(day=day, shops=OUTCOMES),
        run_after="all_ended",
    )
    return chain(shops, mail_page.s(text=PREVIOUS, to="ada@example.com"))


async def main(settings: Settings) -> None:
    """Starts it by hand, and waits for its end."""
    async with Client(settings):
        report = await report_of(date(2030, 1, 31)).enqueue()
        page, letter = report.steps
        print(await page.result(timeout_s=60), await letter.result(timeout_s=60))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Settings.read()))

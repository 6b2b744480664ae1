"""A nightly report in three steps, each put by the success of the one before: none is lost, none comes twice.

JOB_PACKAGES=examples.report .venv/bin/python -m errand worker
.venv/bin/python -m examples.report                       # does not wait for the night
"""

from __future__ import annotations

import asyncio
from datetime import date

from pydantic import BaseModel

from errand import Client, Context, Retry, Schedule, Settings, job


class Outside:
    """What the steps meet in the world; here a list, and a mail server that may be away."""

    letters: list[str] = []  # noqa: RUF012
    mail_is_away = 0


class Day(BaseModel):
    """The day to report on; None: the day on which the job was put."""

    day: date | None = None


class Sales(BaseModel):
    """What was sold on a day."""

    day: date
    amounts: list[int]


class Page(BaseModel):
    """A page to send."""

    day: date
    text: str


@job(schedule=Schedule("0 3 * * *", timezone="Europe/Berlin"), max_tries=5, timeout_s=60)
async def gather_sales(ctx: Context, args: Day) -> int:
    """Reads the sales, and hands them on: the args of the next step are checked here."""
    day = args.day or ctx.enqueued_at.date()
    await asyncio.sleep(0)  # a query, say
    amounts = [10, 20, 12]
    ctx.add_task(render_report, day=day, amounts=amounts)
    return len(amounts)


@job(max_tries=3, timeout_s=60)
def render_report(ctx: Context, args: Sales) -> int:
    """A `def` may block: it has a thread."""
    ctx.add_task(mail_report, Page(day=args.day, text=f"{args.day}: {sum(args.amounts)} in all"))
    return sum(args.amounts)


@job(max_tries=8, timeout_s=60)
async def mail_report(ctx: Context, args: Page) -> None:
    """Sends it under one id, however often it is tried."""
    if Outside.mail_is_away:
        Outside.mail_is_away -= 1
        raise Retry("the mail server is away")
    sent = await ctx.once("letter")
    if not sent.done:
        await sent.start()
        Outside.letters.append(args.text)
        await sent.finish()


async def main(settings: Settings) -> None:
    """Starts it by hand; the others follow by themselves."""
    async with Client(settings):
        report = await gather_sales.options(unique_key="by hand").enqueue(day=date(2030, 1, 31))
        print(await report.result(timeout_s=60), "sales")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Settings.read()))

"""The jobs of the bookshop: a receipt, a parcel, a question some days later."""

from __future__ import annotations

from pydantic import BaseModel

from errand import Context, Fail, Retry, job


class Outside:
    """What the jobs do to the world; here they only note it."""

    letters: list[str] = []  # noqa: RUF012
    parcels: list[str] = []  # noqa: RUF012
    courier_is_busy = 0
    """So many more times the courier cannot come."""


class Sale(BaseModel):
    """A book that somebody has bought."""

    email: str
    title: str


@job(max_tries=5, timeout_s=10)
async def send_receipt(ctx: Context, args: Sale) -> None:
    """A letter that must not be sent twice."""
    letter = await ctx.once("letter")
    if letter.done:
        return
    if letter.started:
        raise Fail("nobody knows whether the letter was sent")
    await letter.start()
    Outside.letters.append(f"{args.email}: you have bought {args.title}")
    await letter.finish()


@job(max_tries=5, timeout_s=10)
async def send_parcel(ctx: Context, args: Sale) -> str:
    """Tries again while the courier is busy; then a question follows in two weeks."""
    if Outside.courier_is_busy:
        Outside.courier_is_busy -= 1
        raise Retry("the courier is busy", after_s=600)
    Outside.parcels.append(args.title)
    # put in the moment in which this attempt is written as succeeded, or not at all
    ctx.add_task(ask.options(delay="14d"), args)
    return f"a parcel for {args.email}"


@job(max_tries=2, timeout_s=10)
async def ask(ctx: Context, args: Sale) -> None:
    """Asks whether the book is any good."""
    Outside.letters.append(f"{args.email}: how is {args.title}?")

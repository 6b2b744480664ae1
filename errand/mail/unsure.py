"""What becomes of a letter if nobody knows whether it was sent (RFC 1047): sent again, given up, or held.

A connection may be lost, a worker may die, an attempt may be cut off between the message and the server's reply.
"""

from __future__ import annotations

import time
from typing import NoReturn

from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.settings.mail import WhenUnsure

MAX_RESENDS = 3
"""A server that takes letters and never says so would get one with each try."""


HOLD_S = 5 * 86_400
"""How long a held letter waits for somebody to decide: as long as mailers try (RFC 5321 §4.5.4.1)."""


CLOCKS_DIFFER_S = 2 * 3600
"""The worker that finds a held letter may have another clock than the one that held it, and Redis, by whose clock it is
due, a third. A letter that comes so shortly before its time counts as not released: sent, it might come twice."""


UNKNOWN = "an attempt ended between the message and the server's reply to it: whether it was sent is unknown"


async def decide(ctx: Context, policy: WhenUnsure, *, why: str) -> NoReturn:
    """The end of an attempt that became unsure. Raises Fail, or Retry for `resend` and `hold`."""
    if policy == "fail":
        raise Fail(f"unsure: {why}; it is not sent again (fail)")
    if policy == "hold":
        await _hold(ctx, why)
    raise Retry(f"unsure: {why}; it is sent again (resend)")


async def decide_again(ctx: Context, policy: WhenUnsure) -> None:
    """For an attempt that finds the letter unsure: returns if it is to be sent, else raises Fail or Retry."""
    if policy == "fail":
        raise Fail(f"unsure: {UNKNOWN}, and it is not sent again (fail)")
    if policy == "resend":
        await _count_resends(ctx)
        return
    held = await ctx.once("held")
    if not held.done:
        await _hold(ctx, UNKNOWN)
    if time.time() >= held.value - CLOCKS_DIFFER_S:
        raise Fail(f"unsure: {UNKNOWN}; it was held, and nobody released it")
    # made due before its time: somebody has looked, and wants it sent


async def _count_resends(ctx: Context) -> None:
    resends = await ctx.once("resends")
    number = (resends.value or 0) + 1
    if number > MAX_RESENDS:
        raise Fail(f"unsure: {UNKNOWN}, {number} times by now; it is not sent once more")
    await resends.finish(number)


async def _hold(ctx: Context, why: str) -> NoReturn:
    """Waits for somebody to reschedule the job (then it is sent) or to cancel it."""
    held = await ctx.once("held")
    await held.finish(time.time() + HOLD_S)
    raise Retry(f"unsure: {why}; held until somebody reschedules or cancels it", after_s=HOLD_S)

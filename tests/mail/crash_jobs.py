"""Letters under each policy, for a worker that is killed in the middle of them."""

from __future__ import annotations

import asyncio
import os

from pydantic import BaseModel

from errand import Context
from errand.mail import EmailReceipt, MailAddress, Message, mail_job, mailer
from errand.settings.mail import WhenUnsure


class Letter(BaseModel):
    to: MailAddress


HANGS_AFTER = "HANGS_AFTER_SENDING"
"""In the environment of a worker that is to be killed between the letter's end and the job's."""


async def send(ctx: Context, args: Letter, when_unsure: WhenUnsure) -> EmailReceipt:
    message = Message(to=args.to, name="Ada", template="welcome")
    receipt = await ctx.use(mailer).send(ctx, message, when_unsure=when_unsure)
    if HANGS_AFTER in os.environ:
        await asyncio.Event().wait()
    return receipt


@mail_job()
async def resent_letter(ctx: Context, args: Letter) -> EmailReceipt:
    """If unsure, it is sent again."""
    return await send(ctx, args, "resend")


@mail_job()
async def failed_letter(ctx: Context, args: Letter) -> EmailReceipt:
    """If unsure, it fails."""
    return await send(ctx, args, "fail")


@mail_job()
async def held_letter(ctx: Context, args: Letter) -> EmailReceipt:
    """If unsure, it is held."""
    return await send(ctx, args, "hold")


JOB_TYPES = [resent_letter, failed_letter, held_letter]

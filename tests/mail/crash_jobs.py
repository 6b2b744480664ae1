"""Letters under each policy, for a worker that is killed in the middle of them."""

from __future__ import annotations

from pydantic import BaseModel

from errand import Context
from errand.mail import EmailReceipt, MailAddress, Message, mail_job, mailer


class Letter(BaseModel):
    to: MailAddress


def message(args: Letter) -> Message:
    return Message(to=args.to, name="Ada", template="welcome")


@mail_job()
async def resent_letter(ctx: Context, args: Letter) -> EmailReceipt:
    """If unsure, it is sent again."""
    return await ctx.use(mailer).send(ctx, message(args), when_unsure="resend")


@mail_job()
async def failed_letter(ctx: Context, args: Letter) -> EmailReceipt:
    """If unsure, it fails."""
    return await ctx.use(mailer).send(ctx, message(args), when_unsure="fail")


@mail_job()
async def held_letter(ctx: Context, args: Letter) -> EmailReceipt:
    """If unsure, it is held."""
    return await ctx.use(mailer).send(ctx, message(args), when_unsure="hold")


JOB_TYPES = [resent_letter, failed_letter, held_letter]

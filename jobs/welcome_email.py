"""Greets a new user by e-mail, once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, EmailStr, Field

from errand import Context, Exponential, job
from errand.mail import EmailReceipt, HeaderText, mailer
from errand.settings import MAIL_QUEUE


class WelcomeEmail(BaseModel):
    """Whom to greet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: EmailStr
    name: HeaderText = Field(min_length=1, max_length=200)


@job(
    queue=MAIL_QUEUE,
    max_tries=8,
    timeout_s=3600,
    retry=Exponential(base_s=10, factor=3, cap_s=3600),
    uses=[mailer],
    examples=[{"to": "ada@example.com", "name": "Ada"}],
)
async def welcome_email(ctx: Context, args: WelcomeEmail) -> EmailReceipt:
    """Sends a welcome message, as text and HTML, by SMTP.

    The message is the same on every attempt, its `Message-ID` included: a mail server or reader can drop a second copy.
    One that is known to be sent is not sent again; if that is unknown, `MAIL_WHEN_UNSURE` decides.
    """
    from errand.mail.letter import compose

    mail = ctx.use(mailer)
    return await mail.send_once(
        ctx, lambda: compose(args.to, args.name, sender=mail.sender, job_id=ctx.job_id, date=ctx.enqueued_at)
    )

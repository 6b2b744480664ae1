"""Greets a new user by e-mail, once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, EmailStr, Field

from errand import Context, job
from errand.mail import MAX_TRIES, RETRY, TIMEOUT_S, EmailReceipt, HeaderText, mailer
from errand.settings import MAIL_QUEUE


class WelcomeEmail(BaseModel):
    """Whom to greet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: EmailStr
    name: HeaderText = Field(min_length=1, max_length=200)


@job(
    queue=MAIL_QUEUE,
    max_tries=MAX_TRIES,
    timeout_s=TIMEOUT_S,
    retry=RETRY,
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

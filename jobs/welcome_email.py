"""Greets a new user by e-mail, once."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, EmailStr, Field, field_validator

from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.job.job_type import job
from errand.job.retry_policy import Exponential
from errand.mail.mailer import Mailer, mailer

if TYPE_CHECKING:
    from errand.job.once import Once
    from errand.mail.letter import Letter

BREAKS_LINES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that no header value may hold: control characters, halves of a pair, line separators."""


UNSURE = (
    "an attempt was cut off between the message and the server's reply to it: whether it was sent is unknown, "
    "and MAIL_WHEN_UNSURE=fail says not to send it again"
)


class WelcomeEmail(BaseModel):
    """Whom to greet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: EmailStr
    name: str = Field(min_length=1, max_length=200)

    @field_validator("name")
    @classmethod
    def _fits_a_header(cls, name: str) -> str:
        """The name stands in headers: what could end one or hide an encoded line break there is refused.

        CVE-2024-6923: `=?utf-8?q?x=0d=0aBcc=3a…?=` becomes a line of its own when Python re-folds the header.
        """
        # not `isprintable`: it knows neither the ideographic space nor the joiners that names are written with
        if "=?" in name or any(unicodedata.category(sign) in BREAKS_LINES for sign in name):
            raise ValueError("must be plain text without line breaks, control characters or '=?'")
        return name


class EmailReceipt(BaseModel):
    """What the mail server said when it took the message over."""

    message_id: str
    response: str


@job(
    max_tries=8,
    timeout_s=720,
    retry=Exponential(base_s=10, factor=3, cap_s=3600),
    uses=[mailer],
    examples=[{"to": "ada@example.com", "name": "Ada"}],
)
async def welcome_email(ctx: Context, args: WelcomeEmail) -> EmailReceipt:
    """Sends a welcome message, as text and HTML, by SMTP.

    The message is the same on every attempt, its `Message-ID` included: a mail server or reader can drop a second copy.
    One that is known to be sent is not sent again; where that is unknown, `MAIL_WHEN_UNSURE` decides.
    """
    from errand.mail.letter import HeaderRefused, compose

    resource, sending = ctx.use(mailer), await ctx.once("sending")
    if sending.done:
        return EmailReceipt.model_validate(sending.value)
    if sending.started and resource.when_unsure == "fail":
        raise Fail(UNSURE)
    try:
        letter = compose(args.to, args.name, sender=resource.sender, job_id=ctx.job_id, date=ctx.enqueued_at)
    except HeaderRefused as error:
        raise Fail(str(error)) from None
    receipt = EmailReceipt(message_id=letter.message_id, response=await _send(resource, letter, sending))
    await sending.finish(receipt.model_dump())
    return receipt


async def _send(resource: Mailer, letter: Letter, sending: Once) -> str:
    """The server's reply to the letter; whatever it says without doubt is no longer uncertain."""
    from errand.mail.smtp import Rejected, Unavailable, Unsure

    try:
        return await resource.smtp.send(letter, begin=sending.start)
    except Unsure as error:
        raise (Fail(UNSURE) if resource.when_unsure == "fail" else Retry(str(error))) from None
    except Rejected as error:
        await sending.forget()
        raise Fail(str(error)) from None
    except Unavailable as error:
        await sending.forget()
        raise Retry(str(error)) from None

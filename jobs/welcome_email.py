"""Greets a new user by e-mail, once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from errand import Context
from errand.mail import EmailReceipt, Locale, MailAddress, Message, PersonName, TemplateName, mail_job, mailer


class WelcomeEmail(BaseModel):
    """Whom to greet, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: MailAddress
    name: PersonName = Field(min_length=1, max_length=200)
    locale: Locale | None = None
    template: TemplateName = "welcome"
    data: dict[str, JsonValue] = Field(default={}, description="what the template sees as `data`")


@mail_job(
    examples=[
        {"to": "ada@example.com", "name": "Ada"},
        {"to": "ada@example.com", "name": "Ada", "locale": "de", "data": {"button_url": "https://acme.example/start"}},
    ],
)
async def welcome_email(ctx: Context, args: WelcomeEmail) -> EmailReceipt:
    """Sends a welcome message, as text and HTML, by SMTP.

    The message is the same on every attempt, its `Message-ID` included: a mail server or reader can drop a second copy.
    One that is known to be sent is not sent again; if that is unknown, `MAIL_WHEN_UNSURE` decides.
    """
    message = Message(to=args.to, name=args.name, template=args.template, locale=args.locale, data=args.data)
    return await ctx.use(mailer).send(ctx, message)

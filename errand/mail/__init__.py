"""E-mail for jobs: messages from templates, letters, SMTP, and the mail sink of a developer's machine.

A job type is made by `@mail_job()` and sends by `ctx.use(mailer).send(ctx, Message(…))`. Nothing here is a job type.
aiosmtpd and Jinja2 (`errand[mail]`) are imported by `templates` and `sink` alone; a worker loads them with `mailer`.
"""

from errand.extras import require

# `EmailStr` in args needs it; checked here, because pydantic's own message would not name the extra
require("mail", "email_validator")

from errand.mail.sending import EmailReceipt, Mailer, mail_job, mailer  # noqa: E402
from errand.mail.writing.address import MailAddress  # noqa: E402
from errand.mail.writing.header_text import HeaderText, PersonName  # noqa: E402
from errand.mail.writing.message import Attachment, Locale, Message, TemplateName  # noqa: E402

__all__ = [
    "Attachment",
    "EmailReceipt",
    "HeaderText",
    "Locale",
    "MailAddress",
    "Mailer",
    "Message",
    "PersonName",
    "TemplateName",
    "mail_job",
    "mailer",
]

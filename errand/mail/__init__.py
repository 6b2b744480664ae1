"""E-mail for jobs: composing a message, SMTP connections, and the mail sink of a developer's machine.

A job type takes `mailer` in its `uses` and sends by `ctx.use(mailer)`. Nothing here is a job type. aiosmtpd and Jinja2
(`errand[mail]`) are imported by `letter` and `sink` alone; a worker loads them with `mailer`.
"""

from errand.extras import require

# `EmailStr` in args needs it; checked here, because pydantic's own message would not name the extra
require("mail", "email_validator")

from errand.mail.header_text import HeaderText  # noqa: E402
from errand.mail.sending import MAX_TRIES, RETRY, TIMEOUT_S, EmailReceipt, Mailer, mailer  # noqa: E402

__all__ = ["MAX_TRIES", "RETRY", "TIMEOUT_S", "EmailReceipt", "HeaderText", "Mailer", "mailer"]

"""Split off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from errand.settings import Settings

if TYPE_CHECKING:
    from errand.mail.smtp import SmtpPool


@dataclass(frozen=True, slots=True)
class Mailer:
    """What a letter needs of the worker."""

    smtp: SmtpPool
    sender: str
    when_unsure: Literal["resend", "fail"]


@asynccontextmanager
async def mailer(settings: Settings) -> AsyncIterator[Mailer]:
    """Connections to `SMTP_URL`; where there is none, to a mail sink that keeps messages under `DATA_DIR`/mail."""
    from errand.mail.sink import opened_sink
    from errand.mail.smtp import SmtpPool

    if settings.smtp_url is not None:
        async with SmtpPool.open(settings.smtp_url.get_secret_value()) as smtp:
            yield Mailer(smtp, settings.mail_from, settings.mail_when_unsure)
        return
    async with opened_sink(settings.data_dir / "mail") as url, SmtpPool.open(url) as smtp:
        yield Mailer(smtp, settings.mail_from, settings.mail_when_unsure)

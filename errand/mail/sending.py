"""What a job sends letters with: connections, the sender, and what to do if nobody knows whether a letter was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from errand.extras import needs
from errand.job.control import Fail, Retry
from errand.settings import Settings

if TYPE_CHECKING:
    from errand.job.clock import Clock
    from errand.job.context import Context
    from errand.job.once import Once
    from errand.mail.letter import Letter
    from errand.mail.smtp import SmtpPool

UNSURE = (
    "an attempt was cut off between the message and the server's reply to it: whether it was sent is unknown, "
    "and MAIL_WHEN_UNSURE=fail says not to send it again"
)


class EmailReceipt(BaseModel):
    """What the mail server said when it took the message over."""

    message_id: str
    response: str


@dataclass(frozen=True, slots=True)
class Mailer:
    """Opened once in a worker; `ctx.use(mailer)` in a job."""

    smtp: SmtpPool
    sender: str
    when_unsure: Literal["resend", "fail"]

    async def send_once(self, ctx: Context, compose: Callable[[], Letter]) -> EmailReceipt:
        """Sends the letter that `compose` makes, unless an attempt of this job is known to have sent it.

        Raises Fail if the letter cannot be sent, now or ever; Retry if the mail server is away or says so.
        """
        from errand.mail.letter import HeaderRefused

        sending = await ctx.once("sending")
        if sending.done:
            return EmailReceipt.model_validate(sending.value)
        if sending.started and self.when_unsure == "fail":
            raise Fail(UNSURE)
        try:
            letter = compose()
        except HeaderRefused as error:
            raise Fail(str(error)) from None
        receipt = EmailReceipt(message_id=letter.message_id, response=await self._send(letter, sending, ctx.clock))
        await sending.finish(receipt.model_dump())
        return receipt

    async def _send(self, letter: Letter, sending: Once, clock: Clock) -> str:
        """The server's reply to the letter. What it says without doubt is no longer uncertain."""
        from errand.mail.smtp import Rejected, Unavailable, Unsure

        try:
            return await self.smtp.send(letter, begin=sending.start, clock=clock)
        except Unsure as error:
            raise (Fail(UNSURE) if self.when_unsure == "fail" else Retry(str(error))) from None
        except Rejected as error:
            await sending.forget()
            raise Fail(str(error)) from None
        except Unavailable as error:
            await sending.forget()
            raise Retry(str(error)) from None


@asynccontextmanager
async def mailer(settings: Settings) -> AsyncIterator[Mailer]:
    """Connections to `SMTP_URL`. If it is unset: to a mail sink, which keeps messages under `DATA_DIR`/mail."""
    with needs("mail"):
        from errand.mail.sink import opened_sink
        from errand.mail.smtp import SmtpPool

    async with AsyncExitStack() as stack:
        if settings.smtp_url is not None:
            url = settings.smtp_url.get_secret_value()
        else:
            url = await stack.enter_async_context(opened_sink(settings.data_dir / "mail"))
        smtp = await stack.enter_async_context(SmtpPool.open(url, connections=settings.mail_connections))
        yield Mailer(smtp, settings.mail_from, settings.mail_when_unsure)

"""What a job sends letters with: connections, the sender, and what to do if nobody knows whether a letter was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from pydantic import BaseModel

from errand.extras import needs
from errand.job.control import Fail, Retry
from errand.job.retry_policy import Delays
from errand.mail.unsure import decide, decide_again
from errand.settings import Settings
from errand.settings.mail import WhenUnsure

if TYPE_CHECKING:
    from errand.job.context import Context
    from errand.job.once import Once
    from errand.mail.letter import Letter
    from errand.mail.smtp import SmtpPool
    from errand.mail.verdict import Refusal

log = structlog.get_logger("errand.mail")


HOUR_S = 3600


RETRY = Delays([10, 60, 300, 900, 1800, HOUR_S, 2 * HOUR_S, *[4 * HOUR_S] * 27], cap_s=24 * HOUR_S)
"""Gives up after four days and a half: RFC 5321 §4.5.4.1 asks for at least four to five. The first ones are for
greylisting and a server that restarts."""


MAX_TRIES = len(RETRY.delays_s) + 1


TIMEOUT_S = 2 * HOUR_S
"""More than a conversation can take in which each reply comes in the last moment that RFC 5321 §4.5.3.2 allows: an
attempt that is cut off after the message sends it twice."""


class EmailReceipt(BaseModel):
    """What the mail server said when it took the message over."""

    message_id: str
    response: str


@dataclass(frozen=True, slots=True)
class Mailer:
    """Opened once in a worker; `ctx.use(mailer)` in a job."""

    smtp: SmtpPool
    sender: str
    when_unsure: WhenUnsure

    async def send_once(
        self, ctx: Context, compose: Callable[[], Letter], *, when_unsure: WhenUnsure | None = None
    ) -> EmailReceipt:
        """Sends the letter that `compose` makes, unless an attempt of this job is known to have sent it.

        `when_unsure` stands in for the setting. Raises Fail if the letter cannot be sent, now or ever; Retry if
        the mail server is away or says so.
        """
        from errand.mail.letter import HeaderRefused

        policy = when_unsure or self.when_unsure
        sending = await ctx.once("sending")
        if sending.done:
            return EmailReceipt.model_validate(sending.value)
        if sending.started:
            await decide_again(ctx, policy)
        try:
            letter = compose()
        except HeaderRefused as error:
            raise Fail(str(error)) from None
        response = await self._send(ctx, letter, sending, policy)
        receipt = EmailReceipt(message_id=letter.message_id, response=response)
        await sending.finish(receipt.model_dump())
        return receipt

    async def _send(self, ctx: Context, letter: Letter, sending: Once, policy: WhenUnsure) -> str:
        """The server's reply to the letter. What it says without doubt is no longer uncertain."""
        from errand.mail.verdict import Refusal, Unsure

        try:
            return await self.smtp.send(letter, begin=sending.start, clock=ctx.clock)
        except Unsure as error:
            await decide(ctx, policy, why=str(error))
            raise AssertionError("unsure, and undecided") from None
        except Refusal as error:
            await sending.forget()
            raise _verdict_on(error, ctx.job_id) from None


def _verdict_on(error: Refusal, job_id: str) -> Exception:
    """What the job says of a clear no."""
    from errand.mail.verdict import Rejected, SenderRefused, asked_wait_s

    if isinstance(error, Rejected):
        return Fail(str(error))
    if isinstance(error, SenderRefused):
        log.error("the sender's own setup is refused: see to it, letters wait", job_id=job_id, error=str(error))
    return Retry(str(error), after_s=asked_wait_s(error.reply))


@asynccontextmanager
async def mailer(settings: Settings) -> AsyncIterator[Mailer]:
    """Connections to `SMTP_URL`. If it is unset: to a mail sink, which keeps messages under `DATA_DIR`/mail."""
    with needs("mail"):
        from errand.mail.sink import opened_sink
        from errand.mail.smtp import PoolLimits, SmtpPool

    async with AsyncExitStack() as stack:
        if settings.smtp_url is not None:
            url = settings.smtp_url.get_secret_value()
        else:
            url = await stack.enter_async_context(opened_sink(settings.data_dir / "mail"))
        limits = PoolLimits(connections=settings.mail_connections)
        smtp = await stack.enter_async_context(SmtpPool.open(url, limits=limits, name=settings.mail_ehlo_name))
        yield Mailer(smtp, settings.mail_from, settings.mail_when_unsure)

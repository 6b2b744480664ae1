"""What a job sends letters with: connections, the sender, and what to do if nobody knows whether a letter was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import structlog
from pydantic import BaseModel
from pydantic_core import to_json

from errand.extras import needs
from errand.job.control import Fail, Retry
from errand.job.job_type import job
from errand.job.retry_policy import Delays
from errand.mail.domains.pace import DomainConnections, DomainRates
from errand.mail.mail_records import MailRecords
from errand.mail.offers import MailServerOffers
from errand.mail.suppressions import normal
from errand.mail.unsure import decide, decide_again
from errand.mail.writing.address import ascii_domain
from errand.mail.writing.dkim import DkimKey
from errand.mail.writing.message import Message
from errand.redis.connection import connect
from errand.redis.outage import REPLY_TIMEOUT_S
from errand.settings import MAIL_QUEUE, Settings
from errand.settings.mail import WhenUnsure

if TYPE_CHECKING:
    from errand.job.context import Context
    from errand.job.once import Once
    from errand.mail.letter import Letter
    from errand.mail.relays import Transport
    from errand.mail.verdict import Refusal
    from errand.mail.writing.templates import Templates

log = structlog.get_logger("errand.mail")


HOUR_S = 3600


COMPOSED_AT_ONCE_BYTES = 16 * 1024
"""Of data, as JSON: to write a letter with a mebibyte of them takes up to half a second."""


LATER_S = 60
"""A letter that its job was put so long before, with a `delay` or a `run_at`, is dated by the time that it was due: one
that is a week old when it comes stands below a week of others, and is spam to many filters."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailer:
    """Opened once in a worker; `ctx.use(mailer)` in a job."""

    transport: Transport
    templates: Templates
    sender: str
    when_unsure: WhenUnsure
    records: MailRecords | None = None
    """None outside a worker, as in a test of a job's function."""
    connections: DomainConnections = field(default_factory=lambda: DomainConnections(None))
    rates: DomainRates | None = None
    dkim: DkimKey | None = None
    return_path: str | None = None

    async def send(self, ctx: Context, message: Message, *, when_unsure: WhenUnsure | None = None) -> EmailReceipt:
        """Sends the message as a letter, unless an attempt of this job is known to have sent it.

        `when_unsure` stands in for the setting. Raises Cancel if an address is suppressed, Fail if the letter cannot
        be sent, now or ever; Retry if the mail server is away or says so; Snooze while the recipient's domain gets no
        more, by setting or because it asked for less.
        """
        policy, domain = when_unsure or self.when_unsure, normal(message.to).rpartition("@")[2]
        sending = await ctx.once("sending")
        if sending.done:
            return EmailReceipt.model_validate(sending.value)
        recipients = [message.to, *message.cc]
        was_slow = self.records is not None and await self.records.admit(recipients, domain=domain)
        with self.connections.one_for(domain):
            if self.rates is not None:
                await self.rates.admit(ctx, domain)
            if sending.started:
                await decide_again(ctx, policy)
            letter = await self._compose(ctx, message, date=await _date(ctx, sending))
            response = await self._send(ctx, letter, sending, policy, domain)
        receipt = EmailReceipt(message_id=letter.message_id, response=response)
        await sending.finish(receipt.model_dump())
        if self.records is not None:
            await self.records.accepted(ctx, recipients, detail=response, was_slow=was_slow, domain=domain)
        return receipt

    async def _compose(self, ctx: Context, message: Message, *, date: datetime) -> Letter:
        """Off the loop if something is enclosed or signed, or if there is much to say: megabytes are encoded then, and
        RSA takes its time."""
        from errand.mail.writing.compose import compose
        from errand.mail.writing.headers import HeaderRefused
        from errand.mail.writing.templates import TemplateAway, TemplateFault

        make = partial(
            compose,
            message,
            self.templates,
            sender=self.sender,
            job_id=ctx.job_id,
            date=date,
            dkim=self.dkim,
            return_path=self.return_path,
        )
        try:
            return await asyncio.to_thread(make) if self.dkim or _is_large(message) else make()
        except TemplateAway as error:
            log.error("a template is missing or has a fault: see to it, letters wait", error=str(error))
            raise Retry(str(error)) from None
        except (HeaderRefused, TemplateFault) as error:
            raise Fail(str(error)) from None

    async def _send(self, ctx: Context, letter: Letter, sending: Once, policy: WhenUnsure, domain: str) -> str:
        """The server's reply to the letter. What it says without doubt is no longer uncertain."""
        from errand.mail.verdict import Refusal, Unsure, asked_wait_s

        try:
            response = await self.transport.send(letter, begin=sending.start, clock=ctx.clock)
            ctx.count("letters:sent")
            return response
        except Unsure as error:
            ctx.count("letters:unsure")
            await decide(ctx, policy, why=str(error))
            raise AssertionError("unsure, and undecided") from None
        except Refusal as error:
            ctx.count(f"letters:{_outcome_of(error)}")
            await sending.forget()
            wait_s = asked_wait_s(error.reply) or 0.0
            snooze = None
            if self.records is not None:
                snooze = await self.records.refused(error, job_id=ctx.job_id, domain=domain, at_least_s=wait_s)
            if snooze is not None and _is_young(ctx):
                raise snooze from None
            raise _verdict_on(error, ctx.job_id, at_least_s=wait_s) from None


async def _date(ctx: Context, sending: Once) -> datetime:
    """When the job was put; of one that was to wait, when it was due first. Every attempt has the same."""
    is_first, waited_s = ctx.attempt == 1, ctx.due_at_ms / 1000 - ctx.enqueued_at.timestamp()
    if is_first and waited_s < LATER_S:
        return ctx.enqueued_at
    dated = await ctx.once("dated")
    # one that may have been sent, by an attempt that was cut off, stays as it was
    if is_first and not dated.done and not sending.started:
        await dated.finish(ctx.due_at_ms)
    return datetime.fromtimestamp(dated.value / 1000, UTC) if dated.done else ctx.enqueued_at


def _is_large(message: Message) -> bool:
    said_bytes = len(to_json(message.data, fallback=repr)) if message.data else 0
    return bool(message.attachments) or said_bytes > COMPOSED_AT_ONCE_BYTES


def _is_young(ctx: Context) -> bool:
    """What uses no try would never end: a letter older than its tries would last is a failure like others."""
    return (datetime.now(UTC) - ctx.enqueued_at).total_seconds() < sum(RETRY.delays_s)


def _outcome_of(error: Refusal) -> str:
    """The word for it in metrics."""
    from errand.mail.verdict import Rejected, SenderRefused

    if isinstance(error, Rejected):
        return "rejected"
    return "sender_refused" if isinstance(error, SenderRefused) else "put_off"


def _verdict_on(error: Refusal, job_id: str, *, at_least_s: float) -> Exception:
    """What the job says of a clear no."""
    from errand.mail.verdict import Rejected, SenderRefused

    if isinstance(error, Rejected):
        return Fail(str(error))
    if isinstance(error, SenderRefused):
        log.error("the sender's own setup is refused: see to it, letters wait", job_id=job_id, error=str(error))
    return Retry(str(error), at_least_s=at_least_s)


@asynccontextmanager
async def mailer(settings: Settings) -> AsyncIterator[Mailer]:
    """Connections to `SMTP_URL`. If it is unset: to a mail sink, which keeps messages under `DATA_DIR`/mail.

    Raises ValueError for a URL that cannot be read, and for a template with an error in it.
    """
    with needs("mail"):
        from errand.mail.relays import opened_relays
        from errand.mail.sink import opened_sink
        from errand.mail.smtp import PoolLimits
        from errand.mail.writing.templates import Templates

    templates = Templates(settings.template_dir)
    await asyncio.to_thread(templates.check)
    dkim = None
    if settings.dkim_key_file is not None and settings.dkim_selector is not None:
        domain = ascii_domain(f"x@{settings.mail_domain}").removeprefix("x@")
        dkim = DkimKey.load(settings.dkim_key_file, domain=domain, selector=settings.dkim_selector)
    async with AsyncExitStack() as stack:
        records = rates = offers = None
        if settings.redis_url is not None:
            redis = connect(settings.redis_url.get_secret_value(), reply_timeout_s=REPLY_TIMEOUT_S)
            await stack.enter_async_context(aclosing(redis))
            records = MailRecords.of(redis, ttl_s=settings.result_ttl_s)
            rates = DomainRates(redis, {rate.domain: rate for rate in settings.mail_domain_rates})
            offers = MailServerOffers(redis)
        urls = settings.smtp_urls or [
            await stack.enter_async_context(opened_sink(settings.data_dir / "mail", faults=settings.sink_faults))
        ]
        limits = PoolLimits(connections=settings.mail_connections)
        relays = opened_relays(urls, limits=limits, name=settings.mail_ehlo_name, offers=offers)
        transport = await stack.enter_async_context(relays)
        yield Mailer(
            transport=transport,
            templates=templates,
            sender=settings.mail_from,
            when_unsure=settings.mail_when_unsure,
            records=records,
            connections=DomainConnections(settings.mail_domain_connections),
            rates=rates,
            dkim=dkim,
            return_path=settings.mail_return_path,
        )


mail_job = partial(job, queue=MAIL_QUEUE, max_tries=MAX_TRIES, timeout_s=TIMEOUT_S, retry=RETRY, uses=(mailer,))
"""`@job` for a job that sends a letter: its queue, its tries over days, and the mailer."""

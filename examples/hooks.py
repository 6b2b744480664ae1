"""Hooks: log lines name their job, each attempt has its tenant, and a dead invoice raises an alarm.

JOB_PACKAGES=examples.hooks .venv/bin/python -m errand worker
.venv/bin/python -m examples.hooks
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar

import structlog
from pydantic import BaseModel

from errand import Client, Context, DeadJob, Fail, SeenAttempt, Settings, job, on_attempt, on_dead

log = structlog.get_logger("invoices")

TENANT: ContextVar[str] = ContextVar("tenant")

SUSPENDED = {"ghost"}


class Outside:
    """What alarms reach; here a list."""

    alarms: list[str] = []  # noqa: RUF012


class Invoice(BaseModel):
    """What a tenant's customer is to pay."""

    tenant: str
    amount: int


@job(max_tries=3, timeout_s=30)
async def invoice(ctx: Context, args: Invoice) -> str:
    """Knows its tenant without being given it, as all that it calls does."""
    log.info("writing an invoice")
    return f"{TENANT.get()} asks for {args.amount}"


@on_attempt()
async def logged(attempt: SeenAttempt) -> AsyncIterator[None]:
    """Every line that is logged meanwhile names the job; the last one says how it ended."""
    with structlog.contextvars.bound_contextvars(job_id=attempt.ctx.job_id, attempt=attempt.ctx.attempt):
        try:
            yield
        finally:
            log.info("ended", type=attempt.type, outcome=attempt.outcome)


@on_attempt(invoice)
async def tenant(attempt: SeenAttempt) -> AsyncIterator[None]:
    """Has the job run as its tenant; ends it if that is suspended."""
    if attempt.args.tenant in SUSPENDED:
        raise Fail(f"{attempt.args.tenant} is suspended")
    before = TENANT.set(attempt.args.tenant)
    try:
        yield
    finally:
        TENANT.reset(before)


@on_dead(invoice)
async def alarm(job: DeadJob) -> None:
    """Somebody has to look at it."""
    Outside.alarms.append(f"{job.type} of {job.args['tenant']}: {job.error.message}")


async def main(settings: Settings) -> str:
    """One invoice."""
    async with Client(settings):
        written = await invoice.enqueue(tenant="acme", amount=7)
        return await written.result(timeout_s=60)


if __name__ == "__main__":
    print(asyncio.run(main(Settings.read())))  # noqa: T201

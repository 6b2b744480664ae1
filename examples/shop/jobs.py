"""The jobs of the shop: a payment that is made once, and what its success puts: the invoice, the merchant's event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel, HttpUrl, SecretStr

from errand import Context, Fail, job
from errand.job.stored_file import path_of_file
from errand.resources.openers import process_pool, storage
from examples.shop import invoice
from jobs.webhook import webhook


class Declined(Exception):
    """The bank has not charged the card."""


class Bank:
    """A bank that would charge a card twice if it is asked twice; here it only notes what it is asked."""

    charged: list[int] = []  # noqa: RUF012

    @classmethod
    async def charge(cls, card: str, cents: int) -> str:
        """Returns the number of its receipt. Raises Declined."""
        await asyncio.sleep(0)  # a request, say
        if card == "0000":
            raise Declined("no money on it")
        cls.charged.append(cents)
        return f"receipt {len(cls.charged)}"


class Order(BaseModel):
    """What a customer has ordered: titles and prices in cents."""

    id: str
    items: dict[str, int]
    card: SecretStr
    merchant: HttpUrl
    """Is sent an event when the order is paid."""


class PaidOrder(BaseModel):
    """What an invoice says."""

    id: str
    items: dict[str, int]
    receipt: str


class InvoiceFile(BaseModel):
    """Where the API serves the PDF."""

    key: str
    url: str


@job(max_tries=5, timeout_s=30)
async def charge(ctx: Context, args: Order) -> str:
    """Charges the card once, whatever dies when. The next two jobs are put by its success, or not at all."""
    payment = await ctx.once("payment")
    if payment.started:
        raise Fail("a worker died while it paid: ask the bank whether it did")
    if not payment.done:
        await payment.start()
        try:
            receipt = await Bank.charge(args.card.get_secret_value(), sum(args.items.values()))
        except Declined as error:
            await payment.forget()
            raise Fail(f"declined: {error}") from None
        await payment.finish(receipt)
    ctx.add_task(write_invoice, id=args.id, items=args.items, receipt=payment.value)
    ctx.add_task(webhook, url=args.merchant, event="order.paid", data={"id": args.id})
    return str(payment.value)


@job(queue="cpu", max_tries=3, timeout_s=60, uses=[process_pool, storage])
async def write_invoice(ctx: Context, args: PaidOrder) -> InvoiceFile:
    """Draws the invoice in a process of the pool, which is killed after 30 seconds, and stores it."""
    prices = [f"{title}: {cents / 100:.2f}" for title, cents in args.items.items()]
    lines = [f"Invoice for order {args.id}", "", *prices, "", f"Paid in full: {args.receipt}"]
    pdf = await ctx.use(process_pool).run(30, invoice.draw, lines)
    key = f"invoices/{args.id}.pdf"
    await ctx.use(storage).write(key, _whole(pdf))
    return InvoiceFile(key=key, url=path_of_file(key))


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content

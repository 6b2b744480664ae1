"""`examples/shop`: a letter, a payment that is made once, an invoice from the process pool, the merchant's event."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pypdfium2
import pytest

from errand.resources.storage import Storage
from errand.testing import JobsUnderTest
from examples.shop import app as shop
from examples.shop.jobs import Bank, charge
from settings import Settings
from tests.conftest import make_settings
from tests.peers import HttpReceiver, SmtpReceiver

BASKET = {"items": {"Middlemarch": 1250, "Emma": 900}, "card": "4242"}


@pytest.fixture
def errand_settings(tmp_path: Path, mail_server: SmtpReceiver) -> Settings:
    return make_settings(tmp_path, job_packages="examples.shop.jobs,jobs", smtp_url=mail_server.url)


@pytest.fixture
async def customer(
    jobs: JobsUnderTest, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shop, whose merchant is the receiver."""
    monkeypatch.setattr(shop, "MERCHANT_URL", receiver.url)
    monkeypatch.setattr(Bank, "charged", [])
    transport = httpx.ASGITransport(shop.app)
    async with (
        shop.app.router.lifespan_context(shop.app),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        yield client


async def test_whoever_orders_pays_once_and_has_an_invoice(
    customer: httpx.AsyncClient,
    jobs: JobsUnderTest,
    receiver: HttpReceiver,
    mail_server: SmtpReceiver,
    errand_settings: Settings,
) -> None:
    await customer.post("/customers", json={"email": "ada@example.com", "name": "Ada"})
    order = (await customer.post("/orders", json=BASKET)).json()["order"]
    with jobs.fail_at("payment", when="finished"):
        ran = {job.type: job for job in await jobs.run_all()}
    assert [job.status for job in ran.values()] == ["succeeded"] * 4
    assert (ran["charge"].attempt, Bank.charged) == (2, [2150])
    assert "4242" not in repr(ran["charge"].result)
    assert [recipients for _, recipients in mail_server.envelopes] == [["ada@example.com"]]
    assert json.loads(receiver.requests[0].body)["data"] == {"id": order}
    stored = Storage.at(errand_settings.files_url).read(ran["write_invoice"].result["key"])
    page = pypdfium2.PdfDocument(b"".join([chunk async for chunk in stored]))[0]
    text = page.get_textpage().get_text_range()
    assert f"Invoice for order {order}" in text and "Emma: 9.00" in text and "receipt 1" in text


async def test_a_payment_that_nobody_knows_of_and_a_declined_one_have_no_invoice(
    customer: httpx.AsyncClient, jobs: JobsUnderTest
) -> None:
    await customer.post("/orders", json=BASKET)
    with jobs.fail_at("payment"):
        (unsure,) = await jobs.run_all()
    await customer.post("/orders", json={**BASKET, "card": "0000"})
    (declined,) = await jobs.run_all()
    assert unsure.error is not None and "ask the bank" in unsure.error.message
    assert declined.error is not None and declined.error.message == "declined: no money on it"
    assert Bank.charged == [] and len(jobs.added) == len(jobs.added_of(charge)) == 2

"""What a developer's tests look like: `pytest -p errand.testing.plugin examples/bookshop` (installed: without `-p`)."""

from __future__ import annotations

import httpx
import pytest
from fastapi.testclient import TestClient

from errand.testing import JobsUnderTest
from examples.bookshop.app import app
from examples.bookshop.jobs import Outside, Sale, ask, send_parcel

SALE = {"email": "ada@example.com", "title": "Middlemarch"}


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("letters", []), ("parcels", []), ("courier_is_busy", 0)):
        monkeypatch.setattr(Outside, name, value)


def test_a_sale_puts_a_receipt_and_a_parcel(client: TestClient, jobs: JobsUnderTest) -> None:
    assert client.post("/sales", json=SALE).status_code == 201
    assert jobs.added == [("send_receipt", SALE), ("send_parcel", SALE)]
    assert jobs.added_of(send_parcel) == [Sale(**SALE)]


def test_an_error_puts_nothing(client: TestClient, jobs: JobsUnderTest) -> None:
    assert client.post("/sales", json={**SALE, "title": "out of print"}).status_code == 404
    assert jobs.added == []


def test_the_parcel_goes_when_the_courier_comes_and_a_question_two_weeks_later(
    client: TestClient, jobs: JobsUnderTest
) -> None:
    Outside.courier_is_busy = 2
    client.post("/sales", json=SALE)
    receipt, parcel = jobs.run_all_sync()
    assert (receipt.attempt, parcel.attempt, parcel.status, Outside.parcels) == (1, 3, "succeeded", ["Middlemarch"])
    assert len(jobs.added_of(ask)) == 1 and len(Outside.letters) == 1
    jobs.move_time("14d")
    jobs.run_all_sync()
    assert Outside.letters[-1] == "ada@example.com: how is Middlemarch?"


def test_a_worker_that_dies_while_it_sends_sends_no_second_letter(client: TestClient, jobs: JobsUnderTest) -> None:
    client.post("/sales", json=SALE)
    with jobs.fail_at("letter", when="finished"):
        receipt, _ = jobs.run_all_sync()
    assert (receipt.status, receipt.attempt, len(Outside.letters)) == ("succeeded", 2, 1)


async def test_at_no_moment_does_a_death_send_two_parcels(jobs: JobsUnderTest) -> None:
    Outside.courier_is_busy = 1
    async for _ in jobs.dying_at_each_await():
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client,
        ):
            await client.post("/sales", json=SALE)
        await jobs.run_all()
        assert len(jobs.added_of(ask)) == 1

"""A delivery holds one slot, and what an endpoint answers decides whether it is asked again."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from errand.job.context import Context
from errand.job.control import Fail, Retry, Snooze
from errand.monitor.waiting import CODES
from errand.resources.guard import AddressGuard
from errand.webhooks.delivery import Deliverer
from errand.webhooks.post import Poster
from errand.webhooks.signing import Signer
from errand.webhooks.target import Target
from errand.webhooks.turns.breaker import LEAST, Breakers
from errand.webhooks.turns.receivers import Receivers
from tests.peers import HttpReceiver

CTX = cast(Context, SimpleNamespace(attempt=1, max_tries=10, count=lambda name: None))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
async def deliverer() -> AsyncIterator[Deliverer]:
    async with Poster.open(AddressGuard([ipaddress.ip_network("127.0.0.0/8")])) as poster:
        yield Deliverer(
            poster=poster, secrets=(SECRET,), receivers=Receivers(slots=40), host_limit=100, breakers=Breakers()
        )


def endpoint(receiver: HttpReceiver) -> Target:
    return Target(url=receiver.url, signer=Signer(SECRET), endpoint_id="one", concurrency=100)


async def deliver(deliverer: Deliverer, target: Target) -> Any:
    return await deliverer.deliver(CTX, target, {"type": "a.b"}, webhook_id="1")


@pytest.mark.usefixtures("names_answer")
@pytest.mark.parametrize(
    ("host", "error"), [("127.0.0.1", Fail), ("localhost", Fail), ("a.localhost", Fail), ("receiver.example", Retry)]
)
async def test_an_address_that_is_not_public_is_final_and_a_name_that_leads_to_one_is_not(
    receiver: HttpReceiver, host: str, error: type[Exception]
) -> None:
    """Name servers answer so for a while when a zone moves, or when one of their own lists has it."""
    async with Poster.open(AddressGuard()) as poster:
        deliverer = Deliverer(
            poster=poster, secrets=(SECRET,), receivers=Receivers(slots=40), host_limit=100, breakers=Breakers()
        )
        url = receiver.url.replace("127.0.0.1", host)
        with pytest.raises(error, match="blocked: its address is not public"):
            await deliver(deliverer, deliverer.to_url(url))
    assert not receiver.requests


async def test_a_delivery_to_an_endpoint_holds_one_slot_though_its_host_has_a_limit_too(
    deliverer: Deliverer, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.webhooks.turns.receivers.SHORT_TURN_S", 0.0)
    receiver.may_answer.clear()
    deliveries = [asyncio.create_task(deliver(deliverer, endpoint(receiver))) for _ in range(60)]
    await receiver.wait_for(18)
    put_back = [each for each in deliveries if each.done()]
    assert len(put_back) == 60 - 18 and all(isinstance(each.exception(), Snooze) for each in put_back)
    receiver.may_answer.set()
    await asyncio.wait(deliveries)
    assert len(receiver.requests) == 18


@pytest.mark.parametrize("status", [429, 503])
async def test_an_endpoint_that_asks_for_less_or_fails_is_left_alone_for_a_while(
    deliverer: Deliverer, receiver: HttpReceiver, status: int
) -> None:
    receiver.answers = [status] * LEAST
    for _ in range(LEAST):
        with pytest.raises(Retry):
            await deliver(deliverer, endpoint(receiver))
    with pytest.raises(Snooze):
        await deliver(deliverer, endpoint(receiver))


async def test_a_delivery_whose_name_could_not_be_looked_up_is_put_back_and_counts_for_nothing(
    deliverer: Deliverer, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.resources.lookups.MAX_LOOKUPS", 0)
    for _ in range(LEAST):
        with pytest.raises(Snooze) as put_back:
            await deliver(deliverer, endpoint(receiver))
        assert put_back.value.code in CODES and put_back.value.code == "lookups_busy"
    monkeypatch.undo()
    await deliver(deliverer, endpoint(receiver))

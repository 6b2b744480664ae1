"""Several mail servers: the next carries the letters of one that is away, and none is sent by both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from errand.mail import relays
from errand.mail.relays import Transport, opened_relays
from errand.mail.smtp import PoolLimits
from errand.mail.verdict import Refusal, Unavailable
from tests.mail.letters import letter
from tests.mail.raw_server import HANGS_UP, MUTE, RawServer
from tests.waiting import eventually


@asynccontextmanager
async def two(script: dict[str, list[bytes]]) -> AsyncIterator[tuple[RawServer, RawServer, Transport]]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(RawServer.serving(script=script))
        second = await stack.enter_async_context(RawServer.serving())
        urls = [f"smtp://{raw.url}" for raw in (first, second)]
        yield first, second, await stack.enter_async_context(opened_relays(urls, limits=PoolLimits(), name=None))


@pytest.mark.parametrize(
    "script",
    [{"CONNECT": [HANGS_UP]}, {"CONNECT": [b"554 no"]}, {"MAIL": [b"451 later"]}, {"RCPT": [HANGS_UP]}],
)
async def test_a_letter_goes_on_to_the_next_server_while_nothing_was_sent(script: dict[str, list[bytes]]) -> None:
    async with two(script) as (first, second, transport):
        await transport.send(letter())
        await transport.send(letter(job_id="job-2"))
        assert (len(first.letters), len(second.letters)) == (0, 2), "the first is passed over for a while"


async def test_a_server_that_is_back_is_preferred_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "DOWN_S", (0.0,))
    async with two({"CONNECT": [HANGS_UP]}) as (first, second, transport):
        await transport.send(letter())
        await transport.send(letter(job_id="job-2"))
        assert (len(first.letters), len(second.letters)) == (1, 1)


@pytest.mark.parametrize(
    "script", [{"RCPT": [b"550 5.1.1 nobody"]}, {"DOT": [HANGS_UP]}, {"DOT": [b"554 no"]}, {"DATA": [b"451 later"]}]
)
async def test_what_is_said_of_the_letter_or_unsure_goes_to_no_other(script: dict[str, list[bytes]]) -> None:
    async with two(script) as (_, second, transport):
        with pytest.raises(Refusal):
            await transport.send(letter())
        assert second.commands == []


SMALL = {"EHLO": [b"250-raw\r\n250 SIZE 100"]}


@pytest.mark.parametrize(
    ("script", "to"),
    [
        (SMALL, "ada@example.com"),
        ({"MAIL": [b"552 5.3.4 too big"]}, "ada@example.com"),
        ({}, "jörg@example.com"),  # the first has no SMTPUTF8
    ],
)
async def test_a_letter_that_one_server_cannot_carry_goes_by_the_next_and_the_others_as_before(
    script: dict[str, list[bytes]], to: str
) -> None:
    async with two(script) as (first, second, transport):
        second.always[b"EHLO"] = b"250-raw\r\n250 SMTPUTF8"
        await transport.send(letter(to))
        await transport.send(letter(job_id="job-2"))
        assert (len(first.letters), len(second.letters)) == (1, 1)


async def test_a_letter_that_one_server_cannot_carry_waits_for_the_other() -> None:
    async with RawServer.serving() as raw:
        urls = ["smtp://127.0.0.1:1", f"smtp://{raw.url}"]
        async with opened_relays(urls, limits=PoolLimits(), name=None) as transport:
            with pytest.raises(Unavailable, match="no connection"):
                await transport.send(letter("jörg@example.com"))


async def test_a_server_that_works_again_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each failure, with days between them, would have it passed over for longer than the last."""
    monkeypatch.setattr(relays, "DOWN_S", (0.0, 300.0))
    async with two({"CONNECT": [HANGS_UP, b"220 ready", HANGS_UP]}) as (first, _, transport):
        for number in range(4):
            await transport.send(letter(job_id=f"job-{number}"))
            for writer in first.connections:
                writer.transport.abort()
        assert len(first.letters) == 2, "the second and the fourth"


async def test_a_server_that_is_mute_before_it_has_heard_of_a_letter_is_not_waited_for_if_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 5321 allows five minutes for each of these replies, which no letter needs to wait."""
    monkeypatch.setattr(relays, "READY_S", 1.5)
    async with two({"EHLO": [MUTE]}) as (first, second, transport):
        await transport.send(letter())
        assert (len(first.letters), len(second.letters)) == (0, 1)


async def test_one_letter_alone_looks_whether_a_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hang now: all letters that are on their way would hang with it."""
    monkeypatch.setattr(relays, "DOWN_S", (0.0,))
    async with two({"CONNECT": [HANGS_UP, MUTE]}) as (first, second, transport):
        await transport.send(letter())
        looking = asyncio.create_task(transport.send(letter(job_id="job-2")))
        await eventually(lambda: first.has_come_to("CONNECT", 2))
        await transport.send(letter(job_id="job-3"))
        assert (len(first.letters), len(second.letters)) == (0, 2)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await transport.send(letter(job_id="job-4"))
        assert len(first.letters) == 1, "it is back, and nobody looked again"


async def test_if_all_are_away_the_last_word_is_that_of_one_of_them() -> None:
    async with opened_relays(["smtp://127.0.0.1:1", "smtp://127.0.0.1:2"], limits=PoolLimits(), name=None) as transport:
        for _ in range(2):
            with pytest.raises(Refusal, match="no connection"):
                await transport.send(letter())

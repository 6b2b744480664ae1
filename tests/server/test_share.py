"""A connection may use a share of the loop for what nobody waits for, and no more."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from errand.server import share
from errand.server.framing import MAX_PIPELINED, Framing
from errand.server.share import AT_ONCE_S, SHARE, Share
from tests.contract.raw.endless import CLIENTS, asked_ms, hostile
from tests.server.test_http_protocol import BODY, GET, POST, connected, port
from tests.waiting import eventually

__all__ = ["port"]


def test_what_is_used_beyond_the_share_is_rested_off() -> None:
    own = Share()
    assert own.use(AT_ONCE_S / 2, at_s=100) == 0
    rest_s = own.use(AT_ONCE_S * 1.5, at_s=100 + AT_ONCE_S * 1.5)
    assert rest_s == pytest.approx(AT_ONCE_S / SHARE, rel=0.05)
    later_s = 100 + AT_ONCE_S * 1.5 + rest_s
    assert own.use(0, at_s=later_s) == pytest.approx(0, abs=1e-6)
    assert own.use(AT_ONCE_S, at_s=later_s + 60) == pytest.approx(0, abs=1e-6), "no more is saved up"


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> list[Framing]:
    """The connections that have used their share, which nobody earns again here."""
    monkeypatch.setattr(share, "SHARE", 1e-9)
    seen: list[Framing] = []
    parse = Framing._parse_by_share

    def parse_by_share(self: Framing, data: memoryview) -> None:
        parse(self, data)
        if self._rests:
            seen.append(self)

    monkeypatch.setattr(Framing, "_parse_by_share", parse_by_share)
    return seen


@pytest.mark.parametrize("kind", ["requests", "upgrades", "tiny chunks"])
async def test_a_client_without_end_comes_to_rest_and_others_do_not(
    port: int, resting: list[Framing], kind: str
) -> None:
    async def all_rest() -> bool:
        return len(resting) == CLIENTS

    async with hostile(kind, port=port):
        await eventually(all_rest)
        await asked_ms(port)
        assert len(resting) == CLIENTS, "none of them was parsed again"


async def test_who_rests_is_not_closed_as_idle(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between answers uvicorn closes what has sent nothing for a while; what was sent already waits unread here."""
    made = Framing.connection_made

    def connection_made(self: Framing, transport: asyncio.Transport) -> None:
        made(self, transport)
        self.timeout_keep_alive = 0  # uvicorn counts in whole seconds

    monkeypatch.setattr(Framing, "connection_made", connection_made)
    monkeypatch.setattr(Share, "use", lambda *_, **__: 0.1)
    number = 3 * MAX_PIPELINED
    async with connected(port) as connection:
        await connection.send((GET + b"\r\n") * number)
        assert [(await connection.answer())[0] for _ in range(number)] == [200] * number


async def test_who_awaits_answers_needs_no_share(port: int, resting: list[Framing]) -> None:
    body = BODY + b" " * 900_000
    async with connected(port) as connection:
        for _ in range(20):
            await connection.send(GET + b"\r\n")
            assert (await connection.answer())[0] == 200
            await connection.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert (await connection.answer())[0] == 202
    assert resting == []


async def test_who_is_refused_has_the_answer_although_more_was_sent(port: int) -> None:
    """A close at once would reset the connection, with the answer in it."""
    async with connected(port) as connection:
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(connection.send(GET + b"X-Header: 1\r\n" * 500_000), 0.05)
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (431, "close")
        assert await connection.is_closed()


async def test_who_sends_a_body_that_is_too_long_has_the_answer(port: int) -> None:
    async with connected(port) as connection:
        with contextlib.suppress(ConnectionError, TimeoutError):
            await connection.send(b"POST /v1/nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
            await asyncio.wait_for(connection.send(b"a" * 20_000_000), 0.05)
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert await connection.is_closed()

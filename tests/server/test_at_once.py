"""The answer to a new job that goes out at once is, to the byte, what uvicorn makes of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from errand.http.answers.new_job import Accepted
from errand.http.gates.answer_headers import ALWAYS, UNLESS_SAID
from errand.server import at_once

MORE = [(b"ratelimit", b'"default";r=1')]


class Transport(asyncio.Transport):
    """Keeps what was written to it, and notes its close."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


def a_cycle(*, keep_alive: bool) -> tuple[RequestResponseCycle, Transport, list[str]]:
    """One whose request is to be answered; the list has an entry for each time that it said that it was."""
    transport, answered = Transport(), list[str]()
    cycle = RequestResponseCycle(
        scope={"type": "http", "method": "POST"},  # type: ignore[typeddict-item]  # all that it reads
        transport=transport,
        flow=FlowControl(transport),
        logger=logging.getLogger(),
        access_logger=logging.getLogger(),
        access_log=False,
        default_headers=[(b"date", b"Mon, 30 Nov 2026 17:48:00 GMT")],
        message_event=asyncio.Event(),
        expect_100_continue=True,
        keep_alive=keep_alive,
        on_response=lambda: answered.append("answered"),
    )
    return cycle, transport, answered


def outcome(cycle: RequestResponseCycle, transport: Transport, answered: list[str]) -> list[Any]:
    states = [cycle.response_started, cycle.response_complete, cycle.waiting_for_100_continue]
    return [transport.written, transport.closed, answered, cycle.message_event.is_set(), *states]


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_it_is_what_uvicorn_makes_of_it(keep_alive: bool) -> None:
    answer = Accepted(b'{"id":"1"}', location="/v1/jobs/1", headers={"Idempotency-Replayed": "true"})
    usual, quick = a_cycle(keep_alive=keep_alive), a_cycle(keep_alive=keep_alive)
    headers = [*answer.raw_headers, *ALWAYS, *UNLESS_SAID, *MORE]
    await usual[0].send({"type": "http.response.start", "status": 202, "headers": headers})
    await usual[0].send({"type": "http.response.body", "body": bytes(answer.body), "more_body": False})
    await at_once.write(quick[0], answer, MORE)
    assert outcome(*quick) == outcome(*usual)


async def test_a_client_that_has_hung_up_is_sent_nothing() -> None:
    cycle, transport, answered = a_cycle(keep_alive=True)
    cycle.disconnected = True
    await at_once.write(cycle, Accepted(b"{}", location="/v1/jobs/1"), [])
    assert (transport.written, answered) == (b"", [])


async def test_a_client_that_reads_nothing_is_waited_for() -> None:
    cycle, transport, _ = a_cycle(keep_alive=True)
    cycle.flow.pause_writing()
    writing = asyncio.create_task(at_once.write(cycle, Accepted(b"{}", location="/v1/jobs/1"), []))
    await asyncio.sleep(0)
    assert transport.written == b""
    cycle.flow.resume_writing()
    await writing
    assert transport.written.endswith(b"\r\n\r\n{}")


async def test_the_date_is_that_of_the_second() -> None:
    for date in (b"Mon, 30 Nov 2026 17:48:00 GMT", b"Mon, 30 Nov 2026 17:48:01 GMT"):
        cycle, transport, _ = a_cycle(keep_alive=True)
        cycle.default_headers = [(b"date", date)]
        await at_once.write(cycle, Accepted(b"{}", location="/v1/jobs/1"), [])
        assert date in transport.written

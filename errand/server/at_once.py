"""Writes the answer to a new job at once: its head is known to be right, and goes out with the body.

uvicorn takes an answer in two messages, and looks in each header for characters that would end it: that is a twentieth
of all that a usual request takes (614 against 563 to 595 thousand instructions). The headers here are the service's
own; in the path of the job all that is not plain is quoted.
"""

from __future__ import annotations

from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from errand.http.answers.new_job import Accepted
from errand.http.gates.answer_headers import ALWAYS, UNLESS_SAID

CYCLE = "errand.cycle"
"""The key of a request's scope under which Errand's own server leaves uvicorn's RequestResponseCycle."""

Headers = Sequence[tuple[bytes, bytes]]


async def write(cycle: RequestResponseCycle, answer: Accepted, more: Headers) -> None:
    """What uvicorn's `send` does with the two messages of that answer; `more` are further headers of it."""
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    lines: list[bytes | memoryview] = [STATUS_LINE[answer.status_code], _dated(cycle.default_headers)]
    lines += map(_line, answer.raw_headers)
    lines.append(GUARDS)
    lines += map(_line, more)
    lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
    lines.append(answer.body)
    cycle.transport.write(b"".join(lines))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


def _line(header: tuple[bytes, bytes]) -> bytes:
    return b"%b: %b\r\n" % header


GUARDS = b"".join(map(_line, (*ALWAYS, *UNLESS_SAID)))


class _Default:
    """uvicorn makes a new list of them each second, which has the date."""

    headers: Headers = ()
    lines = b""


def _dated(headers: Headers) -> bytes:
    if headers is not _Default.headers:
        _Default.headers, _Default.lines = headers, b"".join(map(_line, headers))
    return _Default.lines

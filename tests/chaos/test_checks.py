"""The harness sees what it is there to see: each promise, broken on paper, is found."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.chaos import report
from tests.chaos.accounting import Accounts, Ended, Record
from tests.chaos.effects import Effects
from tests.chaos.faults import Fault
from tests.chaos.flows.accounts import Steps
from tests.chaos.journal import Entry, What
from tests.chaos.link import Link
from tests.chaos.load import End, Job, Request, Wish
from tests.chaos.receivers import Receivers
from tests.chaos.recovery import after_kills, after_redis, share_s


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that says what it hears; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def talking(link: Link) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection through the link."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """What still comes before the connection ends, however it ends."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(100):
            received += data
    return received


def attempt(number: int, outcome: str, *, pid: int = 1, start_ms: int = 0, end_ms: int = 10) -> Ended:
    return Ended(number, outcome, pid, start_ms, end_ms)


def record(*attempts: Ended, job_id: str = "a", mark: int = 0) -> Record:
    last = attempts[-1]
    done = {"attempt": last.number, "pid": last.pid}
    return Record(job_id, "noop", "succeeded", attempts, "", done, mark)


def accounts(*records: Record, wishes: tuple[str, ...] = ("a",), end: End = "succeeded") -> Accounts:
    requests = [Request(0, [Job("noop", {})] * 2, sent_s=0, status=None), Request(1, [], sent_s=0, status=202)]
    return Accounts({job_id: Wish("noop", end, 0) for job_id in wishes}, {one.id: one for one in records}, requests, 0)


def effects(*entries: tuple[What, int, int]) -> Effects:
    return Effects.of(Receivers(), [Entry(what, "a", number, pid) for what, number, pid in entries], Path())


ONCE = record(attempt(1, "succeeded"))
AGAIN = record(attempt(1, "lost"), attempt(2, "succeeded", pid=2, start_ms=10, end_ms=20))


def test_a_job_that_is_not_there_is_lost() -> None:
    assert accounts(ONCE, wishes=("a", "b")).lost == ["b"]


def test_a_job_that_nobody_asked_for_is_a_stranger() -> None:
    unanswered, nobodys = record(*ONCE.attempts, job_id="b", mark=0), record(*ONCE.attempts, job_id="c", mark=1)
    found = accounts(ONCE, unanswered, nobodys).strangers()
    assert (found["unknown"].total(), found["nobody's"].total()) == (1, 1)


def test_half_a_batch_is_torn() -> None:
    half, other_half = record(*ONCE.attempts, job_id="b"), record(*ONCE.attempts, job_id="c")
    assert accounts(half, wishes=("b",)).torn_batches() == 0
    assert accounts(half, wishes=()).torn_batches() == 1
    assert accounts(half, other_half, wishes=()).torn_batches() == 0


def test_an_end_that_nobody_asked_for_is_found() -> None:
    dead = replace(ONCE, status="failed", error="ValueError")
    assert accounts(ONCE).not_as_wished() == (0, Counter())
    assert accounts(dead).not_as_wished() == (0, Counter({"succeeded → failed ValueError": 1}))
    assert accounts(replace(dead, error="Crashed")).not_as_wished() == (1, Counter())


def steps(*changed: Record, without: str | None = None) -> Steps:
    """A root and all of its steps, each right after the one before."""
    times = {"": 0, "a1": 10, "b": 10, "c": 10, "a2": 20, "join": 30, "end": 40}
    of_root = {
        path: Record(
            path or "root",
            "step" if path else "root",
            "succeeded",
            (attempt(1, "succeeded", start_ms=at_ms, end_ms=at_ms + 10),),
            *("", None, 7, path),
        )
        for path, at_ms in times.items()
        if path != without
    }
    kept = [one for one in of_root.values() if one.id not in {other.id for other in changed}]
    return Steps.of([*kept, *changed])


def test_a_step_that_is_lost_doubled_early_or_ends_otherwise_is_found() -> None:
    def step(path: str, **changes: Any) -> Record:
        return replace(
            Record(path or "root", "step" if path else "root", "succeeded", (), "", None, 7, path), **changes
        )

    whole = steps()
    assert (whole.number, whole.lost, whole.doubled, whole.early, whole.wrong) == (6, [], [], [], [])
    assert steps(without="end").lost == ["7 end"] == steps(step("end", status="queued")).lost
    assert steps(step("b", id="another")).doubled == ["7 b"]
    assert steps(step("c", status="failed", error="Fail")).early == []
    assert steps(step("a1", status="failed", error="Fail")).early == ["7 a2: what it follows has not succeeded"]
    assert steps(step("join", attempts=(attempt(1, "succeeded", start_ms=15, end_ms=20),))).early == [
        "7 join: began before a2 had ended"
    ]
    assert len(steps(step("", status="failed")).early) == 6
    assert steps(step("end", status="failed", error="DependencyFailed")).wrong == ["7 end: failed DependencyFailed"]


def test_an_effect_that_never_arrived_is_missing() -> None:
    assert effects(("began", 1, 1)).missing(accounts(ONCE)) == ["a"]
    assert effects(("did", 1, 1)).missing(accounts(ONCE)) == []


def test_an_effect_is_repeated_only_as_often_as_attempts_were_interrupted() -> None:
    twice = effects(("did", 1, 1), ("did", 2, 2))
    assert twice.repeats(accounts(AGAIN)) == Counter(noop=1)
    assert twice.unexplained(accounts(AGAIN)) == []
    assert twice.unexplained(accounts(ONCE)) == ["a"]


def test_an_effect_after_an_acknowledged_cancel_is_found() -> None:
    assert effects(("did", 1, 1)).after_cancel(accounts(ONCE, end="cancelled")) == ["a"]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(ONCE, result={"attempt": 1, "pid": 2}),
        record(attempt(1, "succeeded", pid=3)),
        record(attempt(1, "retry", end_ms=30), attempt(2, "succeeded", start_ms=10, end_ms=20)),
        record(attempt(2, "lost"), attempt(1, "succeeded", start_ms=10)),
        replace(ONCE, attempts=(attempt(1, "lost"),)),
    ],
)
def test_a_success_that_is_not_its_owners_is_a_zombies(wrong: Record) -> None:
    assert effects(("began", 1, 1), ("did", 1, 1)).zombies(accounts(wrong))


def test_a_success_after_which_another_attempt_began_is_a_zombies() -> None:
    assert effects(("began", 1, 1), ("did", 1, 1)).zombies(accounts(ONCE)) == []
    assert effects(("began", 1, 1), ("did", 1, 1), ("began", 2, 2)).zombies(accounts(ONCE))


def test_a_recovery_is_measured_from_the_kill_to_the_next_attempt() -> None:
    kill = Fault("kill worker", "worker-1", began_s=0.005, ended_s=1, pid=1)
    other = Fault("cut link", "worker-2", began_s=0.008, ended_s=0.008, pid=2)
    (alone,), (disturbed,) = after_kills([AGAIN], [kill]), after_kills([AGAIN], [kill, other])
    assert alone.took_s == pytest.approx(0.005)
    assert (alone.alone, disturbed.alone) == (True, False)
    assert after_kills([ONCE], [kill]) == []


def test_the_first_attempt_after_redis_is_back_counts() -> None:
    kill = Fault("kill Redis", "redis", began_s=0, ended_s=0.004, pid=9)
    (delay,) = after_redis([AGAIN], [kill])
    assert delay.took_s == pytest.approx(0.006)
    assert share_s([delay], 0.99) == delay.took_s


async def test_a_link_falls_silent_and_passes_on_what_it_held_when_it_heals() -> None:
    async with echo() as port, Link.open(port, Random(1)) as link, talking(link) as (reader, writer):
        link.stall()
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(5), 0.2)
        link.heal()
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"hello"


async def test_a_link_is_cut() -> None:
    async with echo() as port, Link.open(port, Random(1)) as link, talking(link) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        link.cut()
        assert await asyncio.wait_for(_rest(reader), 5) == b""


async def test_a_link_tears_a_reply_off() -> None:
    async with echo() as port, Link.open(port, Random(1)) as link, talking(link) as (reader, writer):
        link.tear_share = 1.0
        writer.write(b"0123456789")
        assert len(await asyncio.wait_for(_rest(reader), 5)) < 10


async def test_a_link_forgets_its_connections_and_takes_new_ones() -> None:
    async with echo() as port, Link.open(port, Random(1)) as link:
        async with talking(link) as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            link.forget()
            writer.write(b"y")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(1), 0.2)
        async with talking(link) as (reader, writer):
            writer.write(b"z")
            assert await asyncio.wait_for(reader.readexactly(1), 5) == b"z"


def test_a_table_goes_between_the_marks_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n")
    with pytest.raises(ValueError, match="has no"):
        report.replace_between_marks(page, "table\n")
    page.write_text(f"# Title\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.replace_between_marks(page, "table\n")
    assert page.read_text() == f"# Title\n{report.BEGIN}\ntable\n{report.END}\nafter\n"

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
from tests.chaos.cluster.failovers import (
    Failover,
    first_accepted,
    first_starts,
    longest_waits,
    waits_elsewhere,
    waits_of,
)
from tests.chaos.effects import Effects
from tests.chaos.faults import Fault
from tests.chaos.flows.accounts import Steps
from tests.chaos.flows.jobs import BESIDE
from tests.chaos.journal import Entry, What
from tests.chaos.limits.accounts import Disturbances, LimitAccounts
from tests.chaos.limits.jobs import STARTS
from tests.chaos.load.ledger import End, Job, Repeat, Request, Wish
from tests.chaos.receivers import Receivers
from tests.chaos.recovery import after_kills, after_redis, share_s
from tests.chaos.server.link import Link


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


def of_root(path: str, *attempts: Ended, **changes: Any) -> Record:
    """A root, or a step of it."""
    made = Record(path or "root", "step" if path else "root", "succeeded", attempts, "", None, 7, {"mark": "7"})
    return replace(made, args={**made.args, "path": path}, **changes)


def steps(*changed: Record, without: str | None = None) -> Steps:
    """A root and all of its steps, each right after the one before, and a job that waits for the root."""
    times = {"": 0, "a1": 10, **dict.fromkeys(BESIDE, 10), "c": 10, "a2": 20, "join": 30, "end": 40}
    kept = [
        of_root(path, attempt(1, "succeeded", start_ms=at_ms, end_ms=at_ms + 10))
        for path, at_ms in times.items()
        if path != without
    ]
    known = {one.id: one for one in (*kept, late(start_ms=10), *changed)}
    return Steps.of([*known.values(), *(one for one in changed if one.id == "another")])


def late(*, start_ms: int) -> Record:
    done = attempt(1, "succeeded", start_ms=start_ms, end_ms=start_ms + 10)
    return Record("late", "late", "succeeded", (done,), "", None, 8, {"mark": "8", "after": ["root"]})


def test_a_step_that_is_lost_doubled_early_or_ends_otherwise_is_found() -> None:
    whole = steps()
    assert (whole.number, whole.late, whole.lost, whole.doubled, whole.early, whole.wrong) == (11, 1, [], [], [], [])
    assert steps(without="end").lost == ["7 end"] == steps(of_root("end", status="queued")).lost
    assert steps(of_root("b1", id="another")).doubled == ["7 b1"]
    assert steps(of_root("c", status="failed", error="Fail")).early == []
    assert steps(of_root("a1", status="failed", error="Fail")).early == ["7 a2: what it follows has not succeeded"]
    assert steps(of_root("join", attempt(1, "succeeded", start_ms=15, end_ms=20))).early == [
        "7 join: began before a2 had ended"
    ]
    assert steps(late(start_ms=2)).early == ["late: began before the root had ended"]
    assert len(steps(of_root("", status="failed")).early) == 11
    assert steps(of_root("end", status="failed", error="DependencyFailed")).wrong == ["7 end: failed DependencyFailed"]


ORDERS = {
    name: Record(name, "keyed", "succeeded", (), "", None, 0, {"customer": name[0]}) for name in ("a1", "a2", "a3")
}


def stay(job_id: str, began_ms: float, left_ms: float | None, pid: int = 1) -> list[Entry]:
    left = [] if left_ms is None else [Entry("left", job_id, 1, pid, left_ms)]
    return [Entry("began", job_id, 1, pid, began_ms), *left]


def limits(*entries: list[Entry], faults: tuple[Fault, ...] = ()) -> LimitAccounts:
    noted = [entry for each in entries for entry in each]
    return LimitAccounts.of(ORDERS, noted, [], Disturbances(faults, []))


def test_a_third_job_of_a_key_beside_two_is_one_too_many_unless_a_fault_has_hit_one_of_them() -> None:
    first, second = stay("a1", 0, 3000), stay("a2", 100, 4000, pid=2)
    assert limits(first, second, stay("a3", 3000, 3500)).too_many == []
    wrong = limits(first, second, stay("a3", 2000, 2500))
    assert (wrong.most_of_one, wrong.too_many) == (3, ["a3 of a at 2000"])
    killed = Fault("kill worker", "worker-1", began_s=1.5, ended_s=1.6, pid=1)
    assert limits(stay("a1", 0, None), second, stay("a3", 2000, 2500), faults=(killed,)).too_many == []
    assert limits(stay("a1", 0, None), second, stay("a3", 1000, 2500), faults=(killed,)).too_many == ["a3 of a at 1000"]
    away = Fault("pause Redis", "redis", began_s=1.5, ended_s=4, pid=9)
    assert limits(first, second, stay("a3", 2000, 2500), faults=(away,)).too_many == []


def test_more_starts_of_a_key_than_its_rate_lets_are_found() -> None:
    paced = {
        f"{number}": Record(f"{number}", "paced", "succeeded", (), "", None, 0, {"customer": "a"})
        for number in range(40)
    }
    entries = [Entry("began", job_id, 1, 1, 300.0 * int(job_id)) for job_id in paced]
    assert LimitAccounts.of(paced, entries, [], Disturbances([], [])).most_starts == 30 > STARTS
    assert LimitAccounts.of(paced, entries[::2], [], Disturbances([], [])).most_starts == 15


def test_equal_jobs_that_run_too_soon_or_with_older_args_or_twice_are_found() -> None:
    def repeat(number: int, sent_s: float, job_id: str, status: int, type_name: str) -> Repeat:
        return Repeat("t", number, Request(0, [Job(type_name, {})], sent_s, 0.1, status), job_id)

    def seen(type_name: str, number: int, start_ms: int, *put: Repeat) -> LimitAccounts:
        ran = attempt(1, "succeeded", start_ms=start_ms)
        of_topic = [Record(name, type_name, "succeeded", (ran,), "", None, 0, {"number": number}) for name in "ab"]
        return LimitAccounts.of({each.id: each for each in of_topic}, [], put, Disturbances([], []))

    first, second = repeat(1, 0, "a", 202, "settled"), repeat(2, 0.5, "a", 200, "settled")
    assert seen("settled", 2, 1600, first, second).unsettled == []
    assert seen("settled", 2, 1400, first, second).unsettled == ["a began before t had been quiet after change 2"]
    assert seen("settled", 1, 1600, first, second).unsettled == ["a knows of change 1 of t, and stands for 2"]
    one, other = repeat(1, 0, "a", 202, "alert"), repeat(3, 2, "b", 202, "alert")
    assert seen("alert", 1, 0, one, repeat(2, 1, "a", 200, "alert"), other).unthrottled == []
    assert seen("alert", 1, 0, one, repeat(2, 1, "b", 202, "alert")).unthrottled == ["a and b"]


def test_an_effect_that_never_arrived_is_missing() -> None:
    assert effects(("began", 1, 1)).missing(accounts(ONCE)) == ["a"]
    assert effects(("did", 1, 1)).missing(accounts(ONCE)) == []


def test_an_effect_is_repeated_only_as_often_as_attempts_were_interrupted() -> None:
    twice = effects(("did", 1, 1), ("did", 2, 2))
    assert twice.repeats(accounts(AGAIN)) == Counter(noop=1)
    assert twice.unexplained(accounts(AGAIN)) == []
    assert twice.unexplained(accounts(ONCE)) == ["a"]
    fell = Disturbances([Fault("kill master", "redis", began_s=0.005, ended_s=1, pid=0)], [])
    assert twice.forgotten(accounts(ONCE), fell) == ["a"]
    assert twice.forgotten(accounts(AGAIN), fell) == twice.forgotten(accounts(ONCE), Disturbances([], [])) == []


def test_a_job_that_two_run_at_once_is_found_and_a_fault_of_the_first_or_of_redis_explains_it() -> None:
    def found(*faults: Fault, second_began_ms: float = 3000) -> tuple[list[str], list[str]]:
        first = [Entry("began", "a", 1, 1, 0), Entry("did", "a", 1, 1, 4000)]
        second = [Entry("began", "a", 2, 2, second_began_ms), Entry("did", "a", 2, 2, 5000)]
        return Effects.of(Receivers(), [*first, *second], Path()).at_once(Disturbances(faults, []))

    assert found(second_began_ms=4000) == ([], [])
    assert found() == found(Fault("kill worker", "worker-2", 1, 2, pid=2)) == (["a"], [])
    assert found(Fault("kill master", "redis", 3.5, 4, pid=0)) == (["a"], []), "it came later"
    assert found(Fault("pause worker", "worker-1", 1, 2, pid=1)) == ([], ["a"])
    assert found(Fault("kill master", "redis", 1, 2, pid=0)) == ([], ["a"])


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


def test_what_a_failover_held_up_is_measured_from_the_moment_when_another_node_had_the_slot() -> None:
    def ran(due_ms: int, start_ms: int, **of: Any) -> Record:
        one = Ended(1, "succeeded", 1, start_ms, start_ms + 10, due_at_ms=due_ms)
        return replace(ONCE, attempts=(one,), **of)

    root = ran(500, 900, type="root", args={"mark": "7"})
    step = ran(3300, 3300, type="step", args={"mark": "7", "path": "a1"})
    before, waited, after = ran(100, 900), ran(1500, 2700), ran(2600, 9000)
    waits = waits_of([before, waited, after, root, step, ran(1500, 9000, type="paced")])
    failover, kill = Failover("kill master", 1.0, 2.5), Fault("kill master", "redis", 1.0, 6.0, pid=0)
    (longest,), (first,) = longest_waits([failover], waits, [kill]), first_starts([failover], waits, [kill])
    assert longest.took_s == pytest.approx(0.8), "the step follows a root that had ended"
    assert longest.alone
    assert first.took_s == pytest.approx(0.2)
    (idle,) = first_starts([failover], waits_of([before, ran(6000, 6300)]), [kill])
    assert idle.took_s == pytest.approx(0.3), "nothing was due before"
    paused = Fault("pause worker past its lease", "worker-1", 2.0, 4.0, pid=1)
    assert not any(delay.alone for delay in longest_waits([failover], waits, [kill, paused]))
    accepted = [(Wish("noop", "any", at_s), replace(ONCE, partition=part)) for at_s, part in ((2, 0), (2.6, 1), (3, 0))]
    assert [delay.took_s for delay in first_accepted([failover], accepted, [kill])] == [pytest.approx(0.5)]
    elsewhere = waits_of([replace(waited, partition=1), waited, after])
    meanwhile_s, otherwise_s = waits_elsewhere([failover], elsewhere)
    assert meanwhile_s == pytest.approx([1.2])
    assert otherwise_s == pytest.approx([6.4])


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
    page.write_text("# Title\n<!-- chaos -->\nold\n<!-- /chaos -->\nafter\n")
    report.replace_between_marks(page, "table\n")
    assert page.read_text() == "# Title\n<!-- chaos -->\ntable\n<!-- /chaos -->\nafter\n"

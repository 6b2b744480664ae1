"""`def` jobs: a thread each, bounded, with the context of their attempt; what becomes of a thread that is given up."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from datetime import UTC, datetime

import pytest
import structlog
from pydantic import BaseModel

from errand import Context, job
from errand.job.functions import threads
from errand.worker.runners import attempt
from tests.waiting import eventually

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("MARK")

GO_ON = threading.Event()

RUNNING: list[str] = []


class Name(BaseModel):
    name: str = ""


@job()
def marked(ctx: Context, args: Name) -> str:
    return f"{MARK.get()} {threading.current_thread().name} {ctx.wait(asyncio.sleep(0, 'waited'))}"


@job(timeout_s=0.05)
def hangs(ctx: Context, args: Name) -> None:
    RUNNING.append(args.name)
    GO_ON.wait(30)


@job()
def stops(ctx: Context, args: Name) -> None:
    raise StopIteration


def made(number: int = 1) -> Context:
    return Context(job_id=f"job-{number}", attempt=1, max_tries=2, enqueued_at=datetime.now(UTC))


@pytest.fixture(autouse=True)
def nothing_runs() -> None:
    GO_ON.clear()
    RUNNING.clear()


async def test_it_runs_in_a_thread_with_the_context_of_its_attempt() -> None:
    MARK.set("tenant")
    assert await marked(made(), Name()) == "tenant job job-1 waited"


async def test_a_timeout_ends_the_attempt_and_says_that_the_thread_goes_on() -> None:
    with structlog.testing.capture_logs() as logs:
        outcome = await attempt.run(hangs, made(), {})
        GO_ON.set()
        await eventually(lambda: asyncio.sleep(0, len(logs) == 2))
    assert (outcome.status, outcome.error and outcome.error.message) == ("retry", "ran longer than 0.05 s")
    assert [line["event"] for line in logs] == [
        "a job is given up, and its thread goes on: nobody can stop it",
        "the thread of a job that was given up has ended",
    ]


async def test_there_are_so_many_threads_at_once_and_a_wait_for_one_is_no_time_of_the_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "MAX_THREADS", 1)
    threads._TURNS.clear()
    first = asyncio.create_task(attempt.run(hangs, made(1), {"name": "first"}))
    assert (await first).status == "retry"
    # its thread goes on and has the only turn
    second = asyncio.create_task(attempt.run(hangs, made(2), {"name": "second"}))
    await asyncio.sleep(0.1)
    assert (second.done(), RUNNING) == (False, ["first"])
    GO_ON.set()
    assert ((await second).status, RUNNING) == ("succeeded", ["first", "second"])
    threads._TURNS.clear()


async def test_a_thread_that_the_system_has_no_room_for_keeps_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else, after as many, all `def` jobs of the worker would wait for a thread, and that is no time of theirs."""

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "MAX_THREADS", 1)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError, match="can't start"):
            await marked(made(), Name())
    MARK.set("tenant")
    assert await marked(made(), Name()) == "tenant job job-1 waited"


async def test_no_exception_of_a_thread_is_lost() -> None:
    outcome = await attempt.run(stops, made(), {})
    assert outcome.error is not None and "StopIteration" in outcome.error.message


async def test_wait_is_for_threads() -> None:
    with pytest.raises(RuntimeError, match="use `await` here"):
        made().wait(asyncio.sleep(0))

"""A task that a job has started cannot end the loop of its worker; the worker itself can, and so can a Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator

import pytest
import uvloop
from arq.jobs import JobResult
from arq.worker import func

from errand.process import endless
from tests.conftest import running_worker
from tests.waiting import NEVER_S, eventually

ENDS = [lambda: SystemExit(3), KeyboardInterrupt]


@pytest.fixture(autouse=True)
def signals_as_at_a_start() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def loop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop()


def handled() -> None:
    """As a worker handles the signal, before it runs jobs."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("error", ENDS, ids=["exit", "interrupt"])
def test_a_task_that_exits_ends_no_loop_and_is_an_error_for_who_waits_for_it(
    error: Callable[[], BaseException],
) -> None:
    seen: list[object] = []

    async def exits() -> None:
        raise error()

    async def other() -> None:
        await asyncio.sleep(0.01)
        seen.append("another task went on")

    async def main() -> None:
        handled()
        going_on = asyncio.create_task(other())
        seen.extend(await asyncio.gather(exits(), return_exceptions=True))
        seen.extend(await asyncio.gather(exits(), return_exceptions=True))
        await going_on
        raise SystemExit("settings: bad")

    with asyncio.Runner(loop_factory=loop) as runner, pytest.raises(SystemExit, match="settings: bad"):
        endless.run(runner, main())
    first, second, last = seen
    assert type(first) is type(second) is type(error())
    assert last == "another task went on"


@pytest.mark.parametrize("times", [1, 2])
def test_a_ctrl_c_that_nobody_handles_ends_it(times: int) -> None:
    """At a start that hangs: the first is a cancel, the second ends what does not heed it."""

    async def main() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(NEVER_S)
        except asyncio.CancelledError:
            if times == 1:
                raise
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(NEVER_S)

    with asyncio.Runner(loop_factory=loop) as runner, pytest.raises(KeyboardInterrupt):
        endless.run(runner, main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("error", ENDS, ids=["exit", "interrupt"])
def test_what_a_plain_arq_function_raises_is_its_outcome(redis_url: str, error: Callable[[], BaseException]) -> None:
    """Arq runs it in a task of its own."""

    async def exits(ctx: object) -> None:
        raise error()

    async def main() -> None:
        handled()
        async with running_worker(redis_url, functions=[func(exits, name="exits")]) as worker:
            job = await worker.pool.enqueue_job("exits", _queue_name=worker.queue_name)
            assert job is not None

            async def known() -> JobResult | None:
                return await job.result_info()

            result = await eventually(known)
            assert not result.success and result.job_try == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        endless.run(runner, main())

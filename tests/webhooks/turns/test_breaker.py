"""An endpoint that fails is asked now and then."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from errand.job.control import Snooze
from errand.webhooks.turns import breaker as module
from errand.webhooks.turns.breaker import LAST_WAIT_S, LEAST, Breaker


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def attempt(breaker: Breaker, *, ok: bool | None) -> None:
    with breaker.attempt("it") as made:
        made.ok = ok


def is_open(breaker: Breaker) -> bool:
    """Nothing is let through."""
    if breaker.admits != 0:
        return False
    with pytest.raises(Snooze) as put_back, breaker.attempt("it"):
        pass
    assert put_back.value.code == "endpoint_failing" and put_back.value.waits_for == "it"
    return True


def wait_s(breaker: Breaker, clock: FakeClock) -> float:
    """How long until it lets an attempt through."""
    started_s = clock.now_s
    while is_open(breaker):
        clock.now_s += 1
    return clock.now_s - started_s


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(LEAST):
        attempt(breaker, ok=False)
    return breaker


def test_it_opens_when_half_of_the_latest_attempts_failed(clock: FakeClock) -> None:
    breaker = Breaker()
    for number in range(LEAST - 1):
        attempt(breaker, ok=number % 2 == 1)
    assert breaker.admits is None
    attempt(breaker, ok=True)
    assert wait_s(breaker, clock) == 30 and breaker.admits == 1


def test_few_failures_among_many_successes_change_nothing(clock: FakeClock) -> None:
    breaker = Breaker()
    for number in range(200):
        attempt(breaker, ok=number % 3 != 0)


def test_one_probe_closes_it_or_opens_it_for_longer(clock: FakeClock) -> None:
    breaker = opened()
    for longer_s in (60, 120, 240, 480, LAST_WAIT_S, LAST_WAIT_S):
        clock.now_s += LAST_WAIT_S
        with breaker.attempt("it") as probe:
            assert is_open(breaker), "one probe at a time"
            probe.ok = False
        assert wait_s(breaker, clock) == longer_s
    clock.now_s += LAST_WAIT_S
    attempt(breaker, ok=True)
    for _ in range(LEAST - 1):
        attempt(breaker, ok=False)


def test_attempts_that_started_before_it_opened_do_not_make_the_wait_longer(clock: FakeClock) -> None:
    breaker = Breaker()
    with ExitStack() as stack:
        for _ in range(LEAST + 10):
            stack.enter_context(breaker.attempt("it")).ok = False
    assert wait_s(breaker, clock) == 30


def test_a_probe_that_learns_nothing_is_followed_by_another(clock: FakeClock) -> None:
    breaker = opened()
    clock.now_s += 30
    for _ in range(2):
        with suppress(RuntimeError), breaker.attempt("it"):
            raise RuntimeError("the worker stops")
    attempt(breaker, ok=True)
    attempt(breaker, ok=None)

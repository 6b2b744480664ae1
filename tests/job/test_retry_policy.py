"""Waits between attempts: they grow, are capped, and vary."""

from __future__ import annotations

import pytest

from errand.job.retry_policy import Delays, Exponential


def test_exponential_waits_grow_to_the_cap() -> None:
    policy = Exponential(base_s=2, factor=3, cap_s=40, jitter=0)
    assert [policy.delay_s(attempt) for attempt in (1, 2, 3, 4, 5, 5000)] == [2, 6, 18, 40, 40, 40]


def test_listed_waits_are_taken_in_turn_and_the_last_repeats() -> None:
    policy = Delays([5, 300], jitter=0)
    assert [policy.delay_s(attempt) for attempt in (1, 2, 3)] == [5, 300, 300]


@pytest.mark.parametrize("policy", [Exponential(base_s=100, jitter=0.5, cap_s=1000), Delays([100], jitter=0.5)])
def test_jitter_varies_a_wait_both_ways_within_its_share(policy: Exponential | Delays) -> None:
    waits_s = [policy.delay_s(1) for _ in range(500)]
    assert 50 <= min(waits_s) < 70 and 130 < max(waits_s) <= 150


@pytest.mark.parametrize(
    "policy", [Exponential(base_s=90, jitter=0.5, cap_s=100), Delays([100], cap_s=100, jitter=0.9)]
)
def test_jitter_never_exceeds_the_cap(policy: Exponential | Delays) -> None:
    assert max(policy.delay_s(1) for _ in range(500)) <= 100


def test_policies_describe_themselves() -> None:
    assert Delays([1, 2]).describe() == {"kind": "delays", "delays_s": [1, 2], "jitter": 0.1, "cap_s": 86_400}
    assert Exponential().describe()["kind"] == "exponential"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Exponential(base_s=0),
        lambda: Exponential(factor=0.5),
        lambda: Exponential(base_s=10, cap_s=1),
        lambda: Exponential(jitter=1),
        lambda: Delays([]),
        lambda: Delays([-1]),
        lambda: Delays([1], jitter=-0.1),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: type) -> None:
    with pytest.raises(ValueError):
        wrong()

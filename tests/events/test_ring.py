"""The ring: the latest changes of each queue without a gap, and no more than it may hold."""

from __future__ import annotations

import pytest

from errand.events import ring as ring_module
from errand.events.change import Change
from errand.events.ring import Ring


def change(ms: int, queue: str = "default") -> Change:
    return Change(queue=queue, at=(ms, 0), kind="queued", job_id=f"{queue} {ms}", type="fax", attempt=0)


def ids(changes: list[Change]) -> list[str]:
    return [one.job_id for one in changes]


@pytest.fixture
def ring() -> Ring:
    ring = Ring(["default", "cpu"])
    ring.restart("default", (10, 0))
    ring.restart("cpu", (5, 0))
    return ring


def test_a_change_is_numbered_and_gets_the_cursor_after_it(ring: Ring) -> None:
    first, second = change(11), change(6, "cpu")
    assert ring.append(first) and ring.append(second)
    assert second.number == first.number + 1
    assert [first.cursor, second.cursor] == [
        "11-0@default,5-0@cpu",
        "11-0@default,6-0@cpu",
    ] and ring.cursor == second.cursor


def test_a_change_that_the_ring_has_is_not_added_again(ring: Ring) -> None:
    assert ring.append(change(11))
    assert not ring.append(change(11)) and not ring.append(change(10))
    assert len(ring) == 1


def test_positions_and_numbers_say_what_comes_after(ring: Ring) -> None:
    for one in (change(11), change(6, "cpu"), change(12)):
        ring.append(one)
    assert ids(ring.after(ring.complete({"default": (11, 0), "elsewhere": (1, 0)}))) == ["default 12"]
    assert ids(ring.after({"default": (10, 0), "cpu": (5, 0)})) == ["default 11", "cpu 6", "default 12"]
    assert ids(ring.after({"default": (10, 0), "cpu": (5, 0)}, number=ring.first_number)) == ["cpu 6", "default 12"]


def test_older_changes_come_before_the_rest(ring: Ring) -> None:
    ring.append(change(11))
    ring.prepend("default", [change(8), change(9)], start=(7, 0))
    assert (ring.start("default"), ring.start("cpu")) == ((7, 0), (5, 0))
    assert ids(ring.after({"default": (8, 0), "cpu": (5, 0)}, number=ring.first_number - 1)) == [
        "default 9",
        "default 11",
    ]


def test_a_full_ring_drops_its_oldest_and_says_so(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_RING", 2)
    for ms in (11, 12, 13):
        ring.append(change(ms))
    assert (len(ring), ring.start("default"), ring.start("cpu")) == (2, (11, 0), (5, 0))
    ring.prepend("default", [change(9)], start=(8, 0))
    assert ring.start("default") == (11, 0), "there is no room for what is older"


def test_a_ring_that_starts_anew_has_nothing_from_before(ring: Ring) -> None:
    ring.append(change(11))
    number = ring.first_number
    ring.restart("cpu", (20, 0))
    assert len(ring) == 0 and ring.first_number > number
    assert (ring.start("default"), ring.start("cpu")) == ((11, 0), (20, 0))

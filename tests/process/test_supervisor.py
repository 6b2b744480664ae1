"""When a child counts as ready; what its parent does then is tried with real processes, in tests/processes."""

from __future__ import annotations

from multiprocessing import Pipe
from multiprocessing.process import BaseProcess
from types import SimpleNamespace
from typing import cast

import pytest

from errand.process import supervisor
from errand.process.supervisor import Body, Child


def no_body(number: int) -> Body:
    raise AssertionError("it has been started")


@pytest.mark.parametrize("word", [True, False])
def test_a_child_is_ready_once_it_says_so(*, word: bool) -> None:
    """One that cannot start closes its pipe without a word, a moment before the system has its exit code."""
    reading, sending = Pipe(duplex=False)
    if word:
        sending.send_bytes(b"ready")
    sending.close()
    child = Child("worker", 1, no_body, 0.0)
    child.process, child._ready = cast(BaseProcess, SimpleNamespace(exitcode=None, pid=1)), reading

    child.look()

    assert child.was_ready is word


def test_a_child_that_the_system_has_no_room_for_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the parent would end, and stop all its other children: a replaced one meets this if memory is short."""

    class NoRoom:
        def __init__(self, **_: object) -> None: ...

        def start(self) -> None:
            raise BlockingIOError("Resource temporarily unavailable")

    child = Child("worker", 1, lambda number: str, 0.0)  # type: ignore[arg-type, return-value]  # it is never run
    monkeypatch.setattr(supervisor.SPAWN, "Process", NoRoom)
    child.start()
    child.look()
    assert child.process is None and child.exit_code is None
    monkeypatch.undo()
    monkeypatch.setattr(supervisor.SPAWN, "Process", Started)
    child.look()
    assert isinstance(child.process, Started)


class Started:
    exitcode = None

    def __init__(self, **_: object) -> None: ...

    def start(self) -> None: ...

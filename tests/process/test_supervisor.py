"""When a child counts as ready; what its parent does then is tried with real processes, in tests/processes."""

from __future__ import annotations

from multiprocessing import Pipe
from multiprocessing.process import BaseProcess
from types import SimpleNamespace
from typing import cast

import pytest

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

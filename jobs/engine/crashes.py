"""Jobs that end the process they run in: counted, kept apart, and given up before they do it for ever.

A job cannot be told from its neighbours by one crash: all that ran in the process are counted. All start again at once.
The second time they run one after the other, so that only the cause is there at the third.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobs.engine import records

MAX_CRASHES = 3
"""Attempts of one job that may end their process; others (Sidekiq's super_fetch) allow as many."""
DIED = frozenset({"lost", "crashed"})
"""How attempts end that did not end themselves."""


class Crashed(Exception):
    """The job is given up: its attempts ended their process too often."""

    def __init__(self, crashes: int, *, last: str = "") -> None:
        words = f"{crashes} of its attempts ended with the process they ran in"
        super().__init__(f"{words}; {last}" if last else words)


def crashes_of(attempts: Sequence[bytes]) -> int:
    """How many of those records are of attempts that ended with their process."""
    return sum(attempt.get("outcome") in DIED for attempt in records.readable(attempts)) if attempts else 0


class Suspects:
    """Jobs on their last chance, of which one at a time runs in a process."""

    def __init__(self) -> None:
        self._running: str | None = None

    def admit(self, job_id: str) -> bool:
        """False while another runs."""
        if self._running is not None:
            return False
        self._running = job_id
        return True

    def leave(self, job_id: str) -> None:
        """The job has ended, or was none of them."""
        if self._running == job_id:
            self._running = None

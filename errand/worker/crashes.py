"""Jobs that end the process they run in: counted, kept apart, and given up before they do it for ever.

One crash does not say which of the jobs caused it: all that ran in the process are counted. All start again at once.
The second time they run one after the other, so that only the cause is there at the third.
"""

from __future__ import annotations


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

"""Keeps apart the jobs that may have ended their process, so that the one that does it can be found and given up.

A crash does not say which job caused it: it counts against all jobs that ran in the process. After the first they start
again at once. On their last chance they run one after the other, so that a crash counts against its cause alone.
"""

from __future__ import annotations


class Suspects:
    """Jobs on their last chance: one of them at a time runs in a process."""

    def __init__(self) -> None:
        self._running: str | None = None

    def admit(self, job_id: str) -> bool:
        """True if the job may run; False while another such job runs."""
        if self._running is not None:
            return False
        self._running = job_id
        return True

    def leave(self, job_id: str) -> None:
        """The job has ended; nothing happens if it was not one of them."""
        if self._running == job_id:
            self._running = None

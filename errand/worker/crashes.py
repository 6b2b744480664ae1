"""Keeps apart the jobs that may have ended their worker, so that the one that does it can be found and given up.

The loss of a worker does not say which of its jobs caused it, and most workers that are lost were killed, or were only
paused. So the first losses count against nobody, and their jobs start again at once. A job that was lost with two
workers is a suspect: it runs isolated, one of them at a time, and only what ends its process there counts.
"""

from __future__ import annotations

from errand.leases.leases import Claim
from errand.worker.isolation import Isolation


class Suspects:
    """The suspects of one worker process: one of them at a time runs.

    They run in the process that `isolation` has for them. Without one they run in the worker's own, beside jobs that
    are no suspects.
    """

    def __init__(self, isolation: Isolation | None = None) -> None:
        self.isolation = isolation
        self._running: Claim | None = None

    def admit(self, claim: Claim) -> bool:
        """True if the job may run; False while another suspect runs, or an earlier claim of the same one."""
        if self._running is not None:
            return False
        self._running = claim
        return True

    def leave(self, claim: Claim) -> None:
        """The attempt has ended; nothing happens if it was not of a suspect."""
        if self._running is claim:
            self._running = None

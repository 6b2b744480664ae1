"""The words a job function says to decide its own end: retry me, cancel me, I failed for good."""

from __future__ import annotations

MAX_CRASHES = 3
"""Attempts of one job that may end their process; others (Sidekiq's super_fetch) allow as many."""


MAX_WAIT_S = 10 * 365 * 86_400


class Retry(Exception):
    """Run this job again, if it has tries left.

    `after_s` is the wait in seconds; without it the job type's retry policy decides. `at_least_s` only lengthens that
    wait: pass on what a peer asks for (`Retry-After`) with it, so that no peer can have the tries used up in seconds.
    """

    def __init__(
        self, reason: str = "asked to be retried", *, after_s: float | None = None, at_least_s: float = 0.0
    ) -> None:
        for name, wait_s in (("after_s", after_s), ("at_least_s", at_least_s)):
            if wait_s is not None and not 0 <= wait_s <= MAX_WAIT_S:
                raise ValueError(f"{name} must be between 0 and {MAX_WAIT_S} s")
        super().__init__(reason)
        self.after_s = after_s
        self.at_least_s = at_least_s

    def wait_s(self, planned_s: float) -> float:
        """How long to wait if the retry policy says `planned_s`."""
        return max(planned_s if self.after_s is None else self.after_s, self.at_least_s)


class Crash(Exception):
    """This attempt ended the process that it ran in: out of memory, a fault in native code.

    It is tried again, but only a few times in all: such a job may take others with it.
    """


class Cancel(Exception):
    """End this job as `cancelled`: its work is no longer needed."""


class Fail(Exception):
    """End this job as `failed` at once: no further try could succeed (a permanent error)."""


class Crashed(Exception):
    """The job is given up: its attempts ended their process too often."""

    def __init__(self, crashes: int, *, last: str = "") -> None:
        words = f"{crashes} of its attempts ended with the process they ran in"
        super().__init__(f"{words}; {last}" if last else words)

"""What a job function raises to decide what becomes of its job: `Retry`, `Fail` or `Cancel`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

MAX_CRASHES = 3
"""How many attempts of one job may be proved to have ended their process; Sidekiq's super_fetch allows as many."""


MAX_WAIT_S = 10 * 365 * 86_400
"""The longest wait that a job function may ask for: ten years."""


class Retry(Exception):
    """Run this job again; it fails if it has no tries left.

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


class Snooze(Exception):
    """Put this job back and start it anew after `after_s` seconds: it waits for its turn at something, and nothing of
    it has happened. It uses no try, leaves no attempt behind, and holds no slot while it waits.

    `code` is what its `waiting` shows to programs, `reason` what it shows to people. Who knows that what jobs
    wait for (`waits_for`) has room for some of them can have these started sooner (`errand.leases.groups`).
    """

    def __init__(self, reason: str, *, after_s: float, code: str = "put_back", waits_for: str = "") -> None:
        if not 0 <= after_s <= MAX_WAIT_S:
            raise ValueError(f"after_s must be between 0 and {MAX_WAIT_S} s")
        super().__init__(reason)
        self.after_s = after_s
        self.code = code
        self.waits_for = waits_for

    def __reduce__(self) -> tuple[Callable[..., Snooze], tuple[str]]:
        """It comes out of the process that an isolated job ran in."""
        return partial(Snooze, after_s=self.after_s, code=self.code, waits_for=self.waits_for), (str(self),)


class Crash(Exception):
    """This attempt ended the process that it ran in: out of memory, a fault in native code.

    The job is tried again, but only a few times in all (`MAX_CRASHES`): it may take other jobs down with it.
    """


class Cancel(Exception):
    """End this job as `cancelled`: its work is no longer needed."""


class Fail(Exception):
    """End this job as `failed` at once: no further try could succeed (a permanent error). It can still be replayed."""


class Crashed(Exception):
    """The error of a job that is given up because too many of its attempts ended their process."""

    def __init__(self, crashes: int, *, last: str = "") -> None:
        message = f"{crashes} of its attempts ended with the process they ran in"
        super().__init__(f"{message}; {last}" if last else message)

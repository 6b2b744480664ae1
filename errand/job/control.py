"""What a job function raises to decide what becomes of its job: `Retry`, `Fail` or `Cancel`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

MAX_CRASHES = 3
"""How many attempts of one job may be proved to have ended their process; Sidekiq's super_fetch allows as many."""


MAX_WAIT_S = 10 * 365 * 86_400
"""The longest wait that a job function may ask for: ten years."""


class Retry(Exception):
    """Raise it in a job function to have the job tried again later. The job fails if it has no tries left.

    >>> raise Retry("their API is busy", after_s=30)

    `after_s` is the wait in seconds; without it the job type's retry policy decides. `at_least_s` only makes the wait
    longer: use it for what a server asks for (`Retry-After`), so that no server can use up the tries in seconds.
    `about` is as for `Fail`. Raises ValueError for a wait that is negative or longer than ten years.
    """

    def __init__(
        self,
        reason: str = "asked to be retried",
        *,
        after_s: float | None = None,
        at_least_s: float = 0.0,
        about: str = "",
    ) -> None:
        for name, wait_s in (("after_s", after_s), ("at_least_s", at_least_s)):
            if wait_s is not None and not 0 <= wait_s <= MAX_WAIT_S:
                raise ValueError(f"{name} must be between 0 and {MAX_WAIT_S} s")
        super().__init__(reason)
        self.after_s = after_s
        self.at_least_s = at_least_s
        self.about = about

    def wait_s(self, planned_s: float) -> float:
        """How long to wait, in seconds, if the retry policy says `planned_s`."""
        return max(planned_s if self.after_s is None else self.after_s, self.at_least_s)


class Snooze(Exception):
    """Raise it in a job function to have the job put back, and started from its beginning after `after_s` seconds.

    >>> raise Snooze("their line is busy", after_s=5)

    Use it before the job has done anything, if it must wait for its turn. The job uses no try, leaves no attempt, and
    holds no slot while it waits. The job's `waiting` shows `code` to programs and `reason` to people. `waits_for` names
    what the job waits for: code that knows of room there can start such jobs sooner (`errand.leases.groups`).
    Raises ValueError for a wait that is negative or longer than ten years.
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


class Killed(BaseException):
    """Ends an attempt as a kill of its process does: nothing of it is written, and its lease lapses. Tests raise it."""


class Cancel(Exception):
    """Raise it in a job function to end the job as `cancelled`, because nobody needs its work any more."""


class Fail(Exception):
    """Raise it in a job function to end the job as `failed` at once, because no further try could succeed.

    The job is then among the dead jobs, and you can replay it. `about` names who or what has the fault, such as a
    customer: the dead jobs of each form groups of their own, which you can find, count and replay by that name. Its
    first 64 characters count, with `_` for blanks and slashes.
    """

    about = ""
    """For a subclass that does not call `__init__`."""

    def __init__(self, *reason: object, about: str = "") -> None:
        super().__init__(*reason)
        self.about = about


class Crashed(Exception):
    """The error of a job that is given up because too many of its attempts ended their process."""

    def __init__(self, crashes: int, *, last: str = "") -> None:
        message = f"{crashes} of its attempts ended with the process they ran in"
        super().__init__(f"{message}; {last}" if last else message)

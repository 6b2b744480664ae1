"""The ledger of what was asked for, and what was answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

End = Literal["succeeded", "failed", "cancelled", "pending", "any"]
"""What a job was asked to come to; `any` if a cancel got no answer."""

STEP_TYPES = frozenset({"step", "join"})
"""Of jobs that nobody asks for by a request: the success of others puts them."""


@dataclass(frozen=True, slots=True)
class Job:
    """One that a request asks for."""

    type: str
    args: dict[str, Any]
    end: End = "succeeded"


@dataclass(slots=True)
class Request:
    """One POST of jobs and its answer. Times are seconds since the epoch."""

    number: int
    jobs: list[Job]
    sent_s: float
    took_s: float = 0.0
    status: int | None = None
    """None: no answer came."""
    reached: bool = True
    """False where no connection was made: nothing can have been accepted."""
    error: str = ""
    """What the client met instead of an answer."""

    @property
    def unknown(self) -> bool:
        """No answer: its jobs may be there or not."""
        return self.status is None and self.reached

    @property
    def is_equal(self) -> bool:
        """Answered with a job that was there before and stands for this one, as a debounced one does."""
        return self.status == 200 and self.jobs[0].type in ("settled", "alert")


@dataclass(frozen=True, slots=True)
class Wish:
    """An accepted job: what it is and what should become of it."""

    type: str
    end: End
    accepted_s: float
    durability: str = ""
    """What its answer said of that."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """One of several equal jobs that was accepted."""

    topic: str
    number: int
    """Higher for each that follows of its topic."""
    request: Request
    job_id: str
    """Of the job that stands for it."""


@dataclass
class Ledger:
    """Everything asked for."""

    requests: list[Request] = field(default_factory=list)
    accepted: dict[str, Wish] = field(default_factory=dict)
    """By job id: what got a 202."""
    repeats: list[Repeat] = field(default_factory=list)
    cancel_answers: list[int | None] = field(default_factory=list)

    def cancelled(self, job_id: str, status: int | None, answer: Any) -> None:
        """What a cancel was answered: that it is cancelled is a promise too; else it may come to that, or not."""
        self.cancel_answers.append(status)
        is_cancelled = status == 200 and answer["status"] == "cancelled"
        self.accepted[job_id] = replace(self.accepted[job_id], end="cancelled" if is_cancelled else "any")


Ask = Callable[..., Awaitable[tuple[Request, list[str]]]]
"""Posts jobs to a path, with a query and a body, and notes them in the ledger: the request, and the ids accepted."""


def mark_of(type_name: str, args: Mapping[str, Any]) -> int | None:
    """The number of the request that a job in Redis came with; None for one that is not of this load."""
    try:
        match type_name:
            case "webhook":
                return int(args["data"]["mark"])
            case "welcome_email":
                return int(args["name"])
            case "resize":
                return int(args["file"]["filename"].removesuffix(".jpg"))
            case _:
                return int(args["mark"].partition(".")[0])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def set_mark(job: Job, number: int, at: int) -> None:
    """Has the job say that it came with that request, as the `at`-th of its jobs."""
    match job.type:
        case "webhook":
            job.args["data"]["mark"] = number
        case "welcome_email":
            job.args["name"] = str(number)
        case "resize":
            pass  # the name of its file says it
        case _:
            job.args["mark"] = f"{number}.{at}"

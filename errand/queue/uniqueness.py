"""One job at a time, or in a while, of those that share a unique key within their queue and type.

The key is held by a marker with the job's id in it. It is looked at when the next job wants the key, and nowhere else:
a marker whose job has ended counts as free, so that no job has to pay for it at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

State = Literal["waiting", "running", "ended", "moved"]
"""`moved`: it waited, and has taken over what the other one asked for."""


UNTIL_END_LIMIT_MS = 7 * 86_400_000
"""A marker that nobody has asked for goes that long after its job was due: else it would stay when the job has gone."""


class NotUnique(Exception):
    """Another job holds the unique key, so Errand put no job. `job_id` and `state` say which job it is.

    That job waits or runs, or it has ended and holds the key for a while. If it waited and is debounced, it has taken
    over the args of the new job, and `state` is `moved`.
    """

    def __init__(self, job_id: str, state: State) -> None:
        super().__init__(f"job {job_id}, which is {state}, holds the unique key")
        self.job_id = job_id
        self.state: State = state

    @classmethod
    def parse(cls, holder: bytes) -> Self:
        """From the script's `STATE ID`."""
        state, job_id = holder.decode().split(" ", 1)
        return cls(job_id, state)  # type: ignore[arg-type]  # one of the script's four words


class Repeated(Protocol):
    """How a job stands for its equals, as `job.producing.repeats` has it."""

    @property
    def for_s(self) -> float | None: ...

    @property
    def moves(self) -> bool: ...

    def key_of(self, args: Mapping[str, Any]) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """The key that a job must not share with another of its type in its queue."""

    key: str
    for_s: float | None = None
    """How long the job holds the key, from its enqueue; None: until it ends."""
    replace: bool = False
    """A job that holds the key and does not run gives way, as `cancelled`."""
    moves: bool = False
    """A job that holds the key and waits for its first attempt takes over what this one asks for; else this is put."""

    @classmethod
    def of_repeats(cls, repeats: Repeated, args: Mapping[str, Any]) -> Self:
        """The key of a job with these args that is debounced or throttled."""
        return cls(key=repeats.key_of(args), for_s=repeats.for_s, moves=repeats.moves)

    def hold(self, *, at: int, replaces: str | None) -> Mapping[str, Any]:
        """The script's condition: KEYS[at] is the marker. `replaces`: the job that was just cancelled for this one."""
        until = {"limit_ms": UNTIL_END_LIMIT_MS} if self.for_s is None else {"for_ms": int(self.for_s * 1000)}
        return {
            "at": at,
            **until,
            **({"replaces": replaces} if replaces else {}),
            **({"moves": True} if self.moves else {}),
        }

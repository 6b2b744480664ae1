"""The rows that the scripts of this room take and answer, by name; a test holds the scripts to these names.

A call moves hundreds of jobs, so that names inside each row would be paid for by every job: a header that names the
slots made finishing 7 to 14 % slower, JSON for each job 13 to 37 %. Names in the code alone cost nothing
(0.97 of the CPU time of claiming and finishing without them, where the same code measured 1.01 against itself).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class ClaimedRow(NamedTuple):
    """What `claim.lua` answers of one job."""

    id: bytes
    due: bytes
    """Its score in the queue."""
    tries: int
    body: bytes | None
    attempts: list[bytes]
    lost: int | None
    """1 if the attempt before this one was started and never ended."""
    cancel: int | None
    """1 if somebody asked to cancel the job."""


class FollowUpRow(NamedTuple):
    """A job that `finish.lua` puts if it accepts the success that the job follows."""

    queue: str
    """The key of its queue."""
    id: str
    body: bytes
    delay_ms: int
    run_at_ms: int | None
    expires_in_ms: int | None = None
    parent: str = ""
    """If it is not the job that it follows."""
    needs: Mapping[str, Any] | None = None
    """What it waits for, as `held.lua` reads it."""


class FinishRow(NamedTuple):
    """What `finish.lua` takes of one job."""

    id: str
    token: str
    name: str
    """Its status; `<status>:<type>` if it ends and is to be listed, or is to be parked."""
    result: bytes | str
    keep_ms: int | str
    """How long the result is kept: '' for ever, 0 not at all."""
    due_in_ms: int | str
    """When it is due again, from now; '' if it ends."""
    record: bytes | str
    """The attempt; `put back WHY` if it did not start; if the job ends dead, its entry among the dead jobs."""
    keep_lease_ms: int
    give_back: int
    """1 if the attempt does not count as a try."""

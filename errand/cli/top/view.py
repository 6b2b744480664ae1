"""What the terminal shows, and what each key leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from errand.monitor.job_snapshot import Status

Page = Literal["overview", "jobs", "job", "help"]

STATUSES: tuple[Status | None, ...] = (None, "failed", "in_progress", "queued", "deferred", "succeeded", "cancelled")

HELP = (
    ("1", "queues, workers and the newest jobs"),
    ("2", "jobs alone, as many as fit"),
    ("s", "only jobs of one status: each press the next one, then all again"),
    ("↑ ↓ or k j", "choose a job"),
    ("enter", "follow that job alone"),
    ("esc or ←", "back"),
    ("?", "these keys"),
    ("q", "end"),
)


@dataclass(frozen=True, slots=True)
class View:
    """What is shown now."""

    page: Page = "overview"
    job_id: str | None = None
    """On the page of one job."""
    status: Status | None = None
    """Of the jobs that are listed; None for all."""
    row: int = 0
    """The chosen one of the listed jobs."""
    back: View | None = None

    def after(self, key: str, job_ids: Sequence[str]) -> View | None:
        """The view that the key leads to; None if it ends the program. `job_ids` are those that are listed now."""
        row = min(self.row, max(len(job_ids) - 1, 0))
        match key:
            case "q":
                return None
            case "1":
                return View()
            case "2":
                return View("jobs", status=self.status)
            case "s" if self.page in ("overview", "jobs"):
                following = STATUSES[(STATUSES.index(self.status) + 1) % len(STATUSES)]
                return View("jobs", status=following)
            case "?" if self.page != "help":
                return View("help", back=self)
            case "esc":
                return self.back or View()
            case "down":
                return replace(self, row=min(row + 1, max(len(job_ids) - 1, 0)))
            case "up":
                return replace(self, row=max(row - 1, 0))
            case "enter" if job_ids and self.page in ("overview", "jobs"):
                return View("job", job_id=job_ids[row], back=self)
        return self

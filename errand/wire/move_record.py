"""What two servers say of the move of all jobs between them: while one does so no API and no worker starts on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, Self

from pydantic_core import from_json, to_json

State = Literal["copying", "moved", "coming"]


@dataclass(frozen=True, slots=True)
class MoveRecord:
    """Of the source: `copying`, then `moved` for good. Of the target: `coming`, until all is there."""

    move_id: str
    state: State
    other: str
    """The URL of the other server, without its passwords."""

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Raises ValueError for what another program, or a version to come, has written."""
        try:
            return cls(**from_json(text))
        except TypeError:
            raise ValueError("a record of a move that this version cannot read") from None

    def dumps(self) -> bytes:
        return to_json(asdict(self))

    @property
    def in_words(self) -> str:
        """Why this server takes no work, and what to do."""
        match self.state:
            case "copying":
                return f"its jobs are being moved to {self.other}: run 'errand move' again to the end, or with --cancel"
            case "moved":
                return f"its jobs have been moved to {self.other}: set REDIS_URL to that"
            case _:
                return f"jobs of {self.other} are being moved here: run 'errand move' again there, to the end"

"""What the validators of an args model may know of the request: pydantic hands it to them as `info.context`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from errand.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgsContext:
    """Given if the args come with a request; a worker checks them again without one."""

    settings: Settings
    file_start: bytes | None = None
    """The first 64 KiB of the upload; None if the request has none."""

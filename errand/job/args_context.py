"""What the validators of an args model may know of the request: pydantic hands it to them as `info.context`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from errand.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterCheck:
    """What a validator cannot say, as it may not wait for Redis."""

    field: str
    about: str
    """What is asked: the answer holds for all args of one request of which the same is asked."""
    check: Callable[[Redis], Coroutine[Any, Any, None]]
    """Raises ValueError if the arg of that name is to be refused, and redis' errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgsContext:
    """Given if the args come with a request; a worker checks them again without one."""

    settings: Settings
    file_start: bytes | None = None
    """The first 64 KiB of the upload; None if the request has none."""
    later: list[LaterCheck] = field(default_factory=list)
    """What is to be checked when all validators have run; they add to it."""
    faults: dict[str, str] = field(default_factory=dict)
    """What was checked, by what was asked: the fault, or nothing."""

"""`Annotated[Session, Depends(session)]` in a job's signature, as in FastAPI: the marker, and overrides for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

Scope = Literal["attempt", "worker"]


@dataclass(frozen=True, slots=True)
class Depends:
    """Gives a parameter of a job function the value that another function returns or yields, as FastAPI's does.

    >>> async def session() -> AsyncIterator[AsyncSession]:
    ...     async with AsyncSession(engine) as opened:
    ...         yield opened
    ...
    >>> @job()
    ... async def bill(ctx: Context, args: Order, db: Annotated[AsyncSession, Depends(session)]) -> None: ...

    Each attempt calls the function once, even if several parameters use it. After the attempt the worker closes
    generators, the last one first. The function may be `async def` or `def` (it then runs in a thread), a generator or
    not. It may have dependencies of its own, and a parameter `ctx: Context` for the attempt. FastAPI's own `Depends`
    works as well. With `scope="worker"` a worker calls the function once, at its start, for all attempts.
    """

    dependency: Callable[..., Any]
    use_cache: bool = True
    scope: Scope = "attempt"


OVERRIDES: dict[Callable[..., Any], Callable[..., Any]] = {}
"""What is called instead of a dependency."""


@contextmanager
def overridden(dependency: Callable[..., Any], instead: Callable[..., Any]) -> Iterator[None]:
    """In the block `instead` is called for `dependency`, by every job of this process: for tests."""
    before = OVERRIDES.get(dependency)
    OVERRIDES[dependency] = instead
    try:
        yield
    finally:
        if before is None:
            del OVERRIDES[dependency]
        else:
            OVERRIDES[dependency] = before


def marker_in(*values: Any) -> Depends | None:
    """The first marker among these, ours or FastAPI's, which is known by its name: a worker loads no FastAPI for it."""
    for value in values:
        if isinstance(value, Depends):
            return value
        if type(value).__module__ == "fastapi.params" and type(value).__name__ in ("Depends", "Security"):
            return Depends(value.dependency, use_cache=value.use_cache)
    return None

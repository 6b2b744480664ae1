"""What a request's scope holds besides ASGI's own: its headers as they came in, and the connection it came by.

Starlette's way to a header takes longer than most checks of what the header says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Scope

CONNECTION = "errand.connection"
"""The key of a scope under which a server puts its `Connection`. Other servers put nothing there."""


class Connection(Protocol):
    """The connection of a request, as Errand's own server hands it on. `errand.server.http_protocol` implements it."""

    transport: asyncio.Transport
    flow: Any
    """uvicorn's FlowControl."""
    cycle: Any
    """uvicorn's RequestResponseCycle: the request that is answered now."""
    at_shutdown: Callable[[], None]
    """Called when the process begins to stop, so that an endless answer can end itself."""


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name, in small letters; empty where there is none."""
    for known, value in scope["headers"]:
        if known == name:
            return str(value, "latin-1")
    return ""

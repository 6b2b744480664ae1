"""What a process for isolated jobs may be like that does not answer; light, as it is imported by each of them."""

from __future__ import annotations

from multiprocessing.connection import Connection, wait
from typing import Any


def stuck(connection: Connection, parent_ended: Any) -> None:
    """Is ready, and then as a job makes it that blocks its loop."""
    connection.send("ready")
    never_ready(connection, parent_ended)


def never_ready(connection: Connection, parent_ended: Any) -> None:
    """Still starts when the test ends."""
    wait([parent_ended])

"""Loads the Lua scripts that lie beside this file; each has one typed caller."""

from __future__ import annotations

from pathlib import Path

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


def load(redis: Redis, name: str) -> AsyncScript:
    """The script `name`.lua, ready to be called; the server is sent its text only where it does not know it."""
    return redis.register_script(Path(__file__).with_name(f"{name}.lua").read_text())

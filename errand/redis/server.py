"""What a Redis server says of itself, in one round trip; managed ones keep a part of it to themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from redis.asyncio import Redis

Fsync = Literal["always", "everysec", "no"]


SILENT_REPLICA_S = 5
"""A replica acknowledges once a second; one that has not for that long hangs, or its network does."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """The answer to INFO, and what CONFIG says of persistence. Either is empty if it is forbidden."""

    info: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def product(self) -> str:
        """The product: `Redis`, `Valkey`, or the server's own name for itself."""
        if "valkey_version" in self.info:
            return "Valkey"
        others = [name for name in ("dragonfly_version", "keydb_version", "kvrocks_version") if name in self.info]
        return others[0].partition("_")[0] if others else "Redis"

    @property
    def version(self) -> str:
        """Its version; empty if unknown."""
        return str(self.info.get(f"{self.product.lower()}_version") or self.info.get("redis_version", ""))

    @property
    def compatible_with(self) -> tuple[int, int] | None:
        """The version of Redis whose commands it has: major, minor. Every make of server says one."""
        found = re.match(r"(\d+)\.(\d+)", str(self.info.get("redis_version", "")))
        return (int(found[1]), int(found[2])) if found else None

    @property
    def aof(self) -> bool | None:
        """It writes an append-only file; None if unknown."""
        if "aof_enabled" in self.info:
            return bool(self.info["aof_enabled"])
        return self.config["appendonly"] == "yes" if "appendonly" in self.config else None

    @property
    def fsync(self) -> Fsync | None:
        """When it has the kernel write the append-only file to the disk; None if CONFIG is forbidden."""
        return self.config.get("appendfsync")  # type: ignore[return-value]  # the directive's three words

    @property
    def live_replicas(self) -> int:
        """How many replicas are in step and have acknowledged lately."""
        return sum(
            replica["state"] == "online" and replica.get("lag", 0) <= SILENT_REPLICA_S for replica in self.replicas
        )

    @property
    def replicas(self) -> list[Mapping[str, Any]]:
        """What INFO says of each connected replica: `ip`, `port`, `state`, `offset`, `lag` in seconds."""
        return [
            value for name, value in self.info.items() if re.fullmatch(r"slave\d+", name) and isinstance(value, dict)
        ]


async def read_server(redis: Redis) -> ServerState:
    """What the server says now. Raises redis' errors if it is away."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.info()
        # one directive a call: a server before 7.0 takes no more
        for directive in ("appendonly", "appendfsync", "save"):
            pipeline.config_get(directive)
        info, *config = await pipeline.execute(raise_on_error=False)
    known = [answer for answer in config if isinstance(answer, dict)]
    return ServerState(
        info=info if isinstance(info, dict) else {},
        config={name: value for part in known for name, value in part.items()},
    )

"""What has been published on a channel so far. No pause says that nothing more comes: a mark is published behind it."""

from __future__ import annotations

from typing import Any

from arq.connections import ArqRedis

MARK = b"that was all"


async def so_far(redis: ArqRedis, channel: str, heard: Any) -> list[str]:
    """What the subscription `heard` has received there since it was read last, in order."""
    await redis.publish(channel, MARK)
    said: list[bytes] = []
    while MARK not in said[-1:]:
        # None stands for the confirmation of a subscription as well
        if (message := await heard.get_message(ignore_subscribe_messages=True, timeout=60)) is not None:
            said.append(message["data"])
    return [text.decode() for text in said[:-1]]

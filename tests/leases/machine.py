"""What the state machines of these tests stand on: an event loop and an empty Redis for each run."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from errand.redis.connection import connect
from tests.waiting import NEVER_S


class RedisMachine(RuleBasedStateMachine):
    """A machine whose rules, which are not asynchronous, call what is. A test sets `url` of its subclass."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = connect(self.url, reply_timeout_s=NEVER_S)
        self.call(self.redis.flushall())

    def call(self, awaited: Any) -> Any:
        async def answer() -> Any:
            return await awaited

        return self.runner.run(answer())

    def teardown(self) -> None:
        self.call(self.redis.aclose())
        self.runner.close()

"""How long the programs and tests here wait for Redis: a busy machine is no outage."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from tests.waiting import NEVER_S

LIMITS = (
    *("http.api.REPLY_TIMEOUT_S", "http.api.REDIS_DEADLINE_S", "http.shared.REDIS_DEADLINE_S"),
    *("client.connection.REPLY_TIMEOUT_S", "client.connection.REDIS_DEADLINE_S", "client.client.REDIS_DEADLINE_S"),
    *("client.watching.REDIS_DEADLINE_S", "queue.enqueue_script.REPLY_TIMEOUT_S", "process.worker.REPLY_TIMEOUT_S"),
    *("http.gates.audit.REDIS_DEADLINE_S", "process.worker.REDIS_DEADLINE_S", "mail.sending.REPLY_TIMEOUT_S"),
    *("redis.outage.REPLY_TIMEOUT_S", "redis.outage.REDIS_DEADLINE_S", "redis.durability.FIRST_READING_LIMIT_S"),
)
"""Those of a program that works for others. What looks whether Redis is well has its own, and keeps them."""

PATIENCE = "TESTS_HAVE_PATIENCE"
"""The variable of the environment: a program that the forker starts has patience if it is not empty."""


def be_patient(set_limit: Callable[[Any, str, float], None] = setattr) -> None:
    """Lifts the limits of this process."""
    for limit in LIMITS:
        module, _, name = limit.rpartition(".")
        set_limit(import_module(f"errand.{module}"), name, NEVER_S)

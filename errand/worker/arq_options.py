"""The parameters of `arq.Worker`, which `Worker` takes and passes on without listing them again."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from datetime import timezone as TimeZone  # noqa: N812  # arq's parameter has its name
from typing import Any, TypedDict

import arq
from arq.connections import ArqRedis, RedisSettings
from arq.cron import CronJob
from arq.jobs import Deserializer, Serializer
from arq.typing import SecondsTimedelta, StartupShutdown


class ArqOptions(TypedDict, total=False):
    """The parameters of Arq 0.28 that are given by name; their defaults and meanings are Arq's."""

    queue_name: str | None
    cron_jobs: Sequence[CronJob] | None
    redis_settings: RedisSettings | None
    redis_pool: ArqRedis | None
    burst: bool
    on_startup: StartupShutdown | None
    on_shutdown: StartupShutdown | None
    on_job_start: StartupShutdown | None
    on_job_end: StartupShutdown | None
    after_job_end: StartupShutdown | None
    handle_signals: bool
    job_completion_wait: int
    max_jobs: int
    job_timeout: SecondsTimedelta
    keep_result: SecondsTimedelta
    keep_result_forever: bool
    poll_delay: SecondsTimedelta
    queue_read_limit: int | None
    max_tries: int
    health_check_interval: SecondsTimedelta
    health_check_key: str | None
    ctx: dict[Any, Any] | None
    retry_jobs: bool
    allow_abort_jobs: bool
    max_burst_jobs: int
    job_serializer: Serializer | None
    job_deserializer: Deserializer | None
    expires_extra_ms: int
    timezone: TimeZone | None
    log_results: bool


def signature_with_arqs(constructor: object) -> inspect.Signature:
    """The constructor's signature, with Arq's parameters instead of `**options`.

    Arq's `get_kwargs` reads the signature of the class and drops every setting that is not in it.
    """
    assert callable(constructor)
    own = [parameter for parameter in inspect.signature(constructor).parameters.values() if parameter.name != "self"]
    named = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    known = {parameter.name for parameter in named}
    stock = [one for one in inspect.signature(arq.Worker).parameters.values() if one.name not in known]
    return inspect.Signature([*named, *stock])

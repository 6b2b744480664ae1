"""What a worker's claims are given of the limits of its job types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import quote

from pydantic import BaseModel

from errand.job.limits.key_template import KeyTemplate, Part
from errand.job.limits.limit import Concurrency, Limit
from errand.wire import codec, keys


class HasLimits(Protocol):
    """A job type, as far as its limits are concerned."""

    @property
    def name(self) -> str: ...

    @property
    def args_model(self) -> type[BaseModel]: ...

    @property
    def limits(self) -> tuple[Limit, ...]: ...


def limits_for_claims(job_types: Iterable[HasLimits]) -> bytes:
    """As JSON; empty if none of the types has a limit, so that it costs their claims nothing."""
    limited = {
        job_type.name: [_of_limit(job_type, limit) for limit in job_type.limits]
        for job_type in job_types
        if job_type.limits
    }
    return codec.dumps(limited) if limited else b""


def _of_limit(job_type: HasLimits, limit: Limit) -> Mapping[str, Any]:
    kind = "concurrency_limit" if isinstance(limit, Concurrency) else "rate_limit"
    known = {
        "name": f"{keys.type_in_key(job_type.name)}:{quote(limit.name, safe='')}",
        "most": limit.most,
        "code": kind,
        "reason": _reason(limit),
    }
    if not isinstance(limit, Concurrency):
        known["per_ms"] = limit.per_ms
    if limit.key is not None:
        known["key"] = [_of_part(part) for part in KeyTemplate.of(limit.key, job_type.args_model).parts]
        if isinstance(limit, Concurrency):
            known["turn"] = f"jobs of its type take turns by {limit.key}, and one with the same runs"
    return known


def _of_part(part: Part) -> Mapping[str, Any]:
    return {"text": part} if isinstance(part, str) else {"names": part.names, "default": part.default}


def _reason(limit: Limit) -> str:
    whose = "jobs of its type" if limit.key is None else f"jobs of its type and {limit.key}"
    if isinstance(limit, Concurrency):
        return f"as many {whose} run as may at once ({limit.most})"
    return f"as many {whose} have started as may ({limit.rate})"

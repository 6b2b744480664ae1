"""The settings of the HTTP API: its address, its keys, and how much it accepts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import NoDecode

from errand.settings.api_keys import ApiKey
from errand.settings.comma_separated import comma_separated
from errand.settings.loopback import is_loopback
from errand.settings.networks import IpNetwork
from errand.settings.units import DAY_S, MAX_TTL_S, MIB, Processes

WINDOW_S = {"s": 1, "min": 60, "h": 3600, "d": DAY_S}


class RequestRate(BaseModel):
    """How many requests one client may make in how many seconds."""

    model_config = ConfigDict(frozen=True)

    quota: int = Field(ge=1, le=1_000_000)
    window_s: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`100/s`, `6000/min`, `1000/h`, `5000/d`. Raises ValueError."""
        number, _, unit = text.partition("/")
        if not number.isdecimal() or unit not in WINDOW_S:
            raise ValueError("must be a number of requests and a time: 100/s, 6000/min, 1000/h or 5000/d")
        return cls(quota=int(number), window_s=WINDOW_S[unit])


def _parse_rate(value: object) -> object:
    return RequestRate.parse(value) if isinstance(value, str) else value


class HttpSettings(BaseModel):
    """A part of `Settings`."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65_535)
    api_processes: Processes = 1
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, comma_separated(ApiKey.parse)] = ()
    trusted_proxies: Annotated[tuple[IpNetwork, ...], NoDecode, comma_separated()] = ()
    rate_limit: Annotated[RequestRate | None, NoDecode, BeforeValidator(_parse_rate)] = None
    refusal_limit: Annotated[RequestRate, NoDecode, BeforeValidator(_parse_rate)] = RequestRate(quota=60, window_s=60)
    audit_limit: int = Field(10_000, ge=0, le=1_000_000)
    queue_limit: int = Field(0, ge=0)
    watcher_limit: int = Field(2_000, ge=1, le=100_000)
    body_timeout_s: float = Field(30, ge=1, le=3600)
    body_limit_bytes: int = Field(MIB, ge=1)
    batch_limit_bytes: int = Field(16 * MIB, ge=1)
    dashboard: Literal["on", "read-only", "off"] = "on"
    dashboard_session_s: int = Field(DAY_S // 2, ge=60, le=30 * DAY_S)
    idempotency_ttl_s: float = Field(DAY_S, ge=1, le=MAX_TTL_S)

    @model_validator(mode="after")
    def _stay_on_loopback_without_keys(self) -> Self:
        if not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                f"HOST: {self.host} is not a loopback address, and without API_KEYS only loopback is served"
            )
        return self

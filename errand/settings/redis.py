"""The settings of Redis: its URL, and how many replicas must have a job."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from errand.redis_url import RedisUrl


def _check_url(secret: SecretStr) -> SecretStr:
    url = RedisUrl.parse(secret.get_secret_value())
    for access in (url.servers, url.sentinels):
        if access.tls:
            _check_certificates(access.options)
    return secret


def _check_certificates(options: Mapping[str, Any]) -> None:
    """They are read here once, so that a wrong file is named at the start and not at each connection."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not os.access(options[name], os.R_OK):
            raise ValueError(f"the file of its option {name} cannot be read")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if "ssl_ca_certs" in options:
            context.load_verify_locations(options["ssl_ca_certs"])
        if "ssl_certfile" in options:
            # a key that needs a password would make OpenSSL ask for it on the terminal
            context.load_cert_chain(options["ssl_certfile"], options["ssl_keyfile"], password="")
    except (OSError, ValueError):
        raise ValueError("the files of its ssl_… options hold no certificate, or no key to it, in PEM") from None


class RedisSettings(BaseModel):
    """A part of `Settings`."""

    redis_url: Annotated[SecretStr, AfterValidator(_check_url)] | None = None
    embedded_fsync: Literal["always", "everysec"] = "always"
    replicas: int = Field(0, ge=0, le=10)
    replication_timeout_ms: int = Field(500, ge=1, le=1000)
    queue_partitions: int = Field(1, ge=1, le=64)

    @model_validator(mode="after")
    def _stay_in_one_partition_outside_a_cluster(self) -> Self:
        if self.queue_partitions > 1 and not self._is_of_cluster():
            raise ValueError(
                f"QUEUE_PARTITIONS: {self.queue_partitions} partitions need a cluster: REDIS_URL=redis+cluster://…"
            )
        return self

    def _is_of_cluster(self) -> bool:
        return self.redis_url is not None and RedisUrl.parse(self.redis_url.get_secret_value()).by_cluster

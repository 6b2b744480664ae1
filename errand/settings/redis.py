"""The settings of Redis: its URL with every option that it may have, and how many replicas must have a job."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from errand.redis_url import ENCODE
from errand.settings.urls import url_with_scheme

REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})


SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password", "sentinel_tls", "tls"})


def _check_redis_options(secret: SecretStr) -> SecretStr:
    """What follows the host: the database, and the options, each of which must be known. Values are never shown."""
    url = secret.get_secret_value()
    scheme, _, rest = url.partition("://")
    if "#" in rest:
        raise ValueError(f"must not hold a '#' {ENCODE}")
    place, _, query = rest.partition("?")
    options = {name: unquote(value) for name, _, value in (part.partition("=") for part in query.split("&") if part)}
    path = place.split("/")[1:]
    if scheme != "unix" and not re.fullmatch(r"(\d+/?)?", "/".join(path[1:] if scheme.endswith("sentinel") else path)):
        raise ValueError("the database must be a number")
    known = _known_options(scheme, options)
    if not options.keys() <= known:
        # not quoted: it may be a part of a password
        raise ValueError(f"has an unknown option; here are known, ssl_… only with TLS: {', '.join(sorted(known))}")
    _check_option_values(options)
    return secret


def _known_options(scheme: str, options: Mapping[str, str]) -> frozenset[str]:
    with_tls = scheme.startswith("rediss") or "true" in (options.get("tls"), options.get("sentinel_tls"))
    own = {"unix": frozenset({"db", "username", "password"}), "redis": frozenset({"db"}), "rediss": frozenset({"db"})}
    return own.get(scheme, SENTINEL_OPTIONS) | (TLS_OPTIONS if with_tls else frozenset())


def _check_option_values(options: Mapping[str, str]) -> None:
    words = dict.fromkeys(("tls", "sentinel_tls", "ssl_check_hostname"), ("true", "false"))
    words["ssl_cert_reqs"] = ("required", "none")
    for name, allowed in words.items():
        if name in options and options[name] not in allowed:
            raise ValueError(f"its option {name} must be {' or '.join(allowed)}")
    if not options.get("db", "0").isdecimal():
        raise ValueError("the database must be a number")
    if ("ssl_certfile" in options) != ("ssl_keyfile" in options):
        raise ValueError("ssl_certfile and ssl_keyfile are needed together")
    _check_certificates(options)


def _check_certificates(options: Mapping[str, str]) -> None:
    """They are read here once, so that a wrong file is named at the start and not at each connection."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not os.access(options[name], os.R_OK):
            raise ValueError(f"the file of its option {name} cannot be read")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if "ssl_ca_certs" in options:
            context.load_verify_locations(options["ssl_ca_certs"])
        if "ssl_certfile" in options:
            context.load_cert_chain(
                options["ssl_certfile"], options["ssl_keyfile"], password=""
            )  # else it asks the terminal
    except (OSError, ValueError):
        raise ValueError("the files of its ssl_… options hold no certificate, or no key to it, in PEM") from None


class RedisSettings(BaseModel):
    """A part of `Settings`."""

    redis_url: Annotated[SecretStr, url_with_scheme(*REDIS_SCHEMES), AfterValidator(_check_redis_options)] | None = None
    replicas: int = Field(0, ge=0, le=10)
    replication_timeout_ms: int = Field(500, ge=1, le=1000)

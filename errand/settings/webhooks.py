"""The settings of webhooks: the secret that signs them, the networks they may reach, the sink for developers."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr
from pydantic_settings import NoDecode

from errand.settings.comma_separated import comma_separated
from errand.settings.networks import IpNetwork


def _check_secret(secret: SecretStr) -> SecretStr:
    prefix, _, encoded = secret.get_secret_value().partition("_")
    try:
        size = len(b64decode(encoded, validate=True))
    except Base64Error:
        size = 0
    if prefix != "whsec" or not 24 <= size <= 64:
        raise ValueError("must be whsec_ followed by the base64 of 24 to 64 bytes")
    return secret


SigningSecret = Annotated[SecretStr, AfterValidator(_check_secret)]
"""Standard Webhooks 1.0: `whsec_` and the base64 of 24 to 64 bytes."""


Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")]
"""Of web pages: no path, and nothing that could end the directive of a policy that it stands in."""


def _check_proxy(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be http://host:port or http://user:password@host:port")
    return url


Port = Annotated[int, Field(ge=1, le=65_535)]


class WebhookSettings(BaseModel):
    """A part of `Settings`."""

    webhook_secret: SigningSecret | None = None
    webhook_old_secrets: Annotated[tuple[SigningSecret, ...], NoDecode, comma_separated(), Field(max_length=4)] = ()
    webhook_allow_networks: Annotated[tuple[IpNetwork, ...], NoDecode, comma_separated()] = ()
    webhook_allow_ports: Annotated[tuple[Port, ...], NoDecode, comma_separated()] = ()
    webhook_https_only: bool = False
    webhook_portal_frames: Annotated[tuple[Origin, ...], NoDecode, comma_separated()] = ()
    webhook_proxy: Annotated[SecretStr, AfterValidator(_check_proxy)] | None = None
    webhook_host_concurrency: int = Field(100, ge=1, le=10_000)
    webhook_attempts_kept: int = Field(1000, ge=0, le=100_000)
    webhook_sink_port: int = Field(8010, ge=0, le=65_535)

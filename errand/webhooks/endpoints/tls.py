"""The certificates of one endpoint: the one that deliveries show, and those that sign the receiver's."""

from __future__ import annotations

import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from errand.secrets.secret_args import check_not_stars

PEM_LIMIT_CHARS = 64 * 1024


def _check_authority(pem: str) -> str:
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError):  # TypeError: it is not ASCII
        raise ValueError("must be one or more certificates in PEM") from None
    return pem


Authority = Annotated[str, Field(min_length=1, max_length=PEM_LIMIT_CHARS), AfterValidator(_check_authority)]


class ClientCertificate(BaseModel):
    """What deliveries show if the receiver asks who they are (mutual TLS)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: str = Field(max_length=PEM_LIMIT_CHARS, description="PEM, with those between it and its root")
    key: Annotated[SecretStr, AfterValidator(check_not_stars)] = Field(
        max_length=PEM_LIMIT_CHARS, description="its private key: PEM, without a password"
    )


def context_of(authority: str | None, client: ClientCertificate | None) -> ssl.SSLContext | None:
    """What connections to the endpoint are made with; None if that is the same as for all.

    `authority` is trusted in place of the system's certificates. Raises ValueError if the key does not fit.
    """
    if authority is None and client is None:
        return None
    context = ssl.create_default_context(cadata=authority)
    context.set_alpn_protocols(["http/1.1"])
    if client is not None:
        _show(context, client)
    return context


def _show(context: ssl.SSLContext, client: ClientCertificate) -> None:
    """Has connections show the certificate. OpenSSL takes files alone, which nobody else can read meanwhile."""
    with TemporaryDirectory(prefix="errand-tls-") as folder:
        chain = Path(folder, "chain.pem")
        chain.touch(mode=0o600)
        chain.write_text(f"{client.key.get_secret_value()}\n{client.certificate}")
        try:
            context.load_cert_chain(chain, password=lambda: b"")
        except (ssl.SSLError, ValueError):
            raise ValueError("must be a certificate in PEM and its private key, without a password") from None

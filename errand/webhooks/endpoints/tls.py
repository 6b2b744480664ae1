"""The certificates of one endpoint: the one that deliveries show, and those that sign the receiver's."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo

from errand.resources.guard import outgoing_context
from errand.secrets.secret_args import check_not_stars

NO_CERTIFICATE = "must be a certificate in PEM and its private key, without a password"
PEM_LIMIT_CHARS = 64 * 1024
LARGEST_KEY_BITS = 8192
"""To show a certificate takes the event loop some 20 ms with such a key of RSA, and eight times as long with one twice
as large."""
COSTLY = ("ENCRYPTED", "TRUSTED CERTIFICATE")
"""Not read at all: a key under a password says itself how many rounds OpenSSL is to make before it finds that there is
none, up to an hour of them; and a certificate of that kind is one that the check of its size does not see."""


KEPT = {"kept": True}
"""The context in which what Redis keeps is validated: its certificates were tried when they came, which takes the event
loop 30 ms for each endpoint that has one."""


def is_kept(info: ValidationInfo) -> bool:
    """True if a model is made of what Redis keeps."""
    return info.context is KEPT


def _check_authority(pem: str, info: ValidationInfo) -> str:
    if is_kept(info):
        return pem
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


MAX_CONTEXTS = 100
"""Of one process, for its latest deliveries: each has 0.8 MiB if the system's authorities are trusted. To make one
takes up to 30 ms; a connection belongs to one."""


@lru_cache(maxsize=MAX_CONTEXTS)
def context_of(authority: str | None, client: ClientCertificate | None) -> ssl.SSLContext | None:
    """What connections to the endpoint are made with; None if that is the same as for all.

    `authority` is trusted in place of the system's certificates. Raises ValueError if the key does not fit.
    """
    if authority is None and client is None:
        return None
    context = outgoing_context(cadata=authority)
    context.set_alpn_protocols(["http/1.1"])
    if client is not None:
        _show(context, client)
    return context


def check_fits(client: ClientCertificate) -> None:
    """Raises ValueError if the key does not fit. Nothing is kept: who takes endpoints makes no connections to them."""
    _show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), client)


def _show(context: ssl.SSLContext, client: ClientCertificate) -> None:
    """Has connections show the certificate. OpenSSL takes files alone, which nobody else can read meanwhile."""
    text = f"{client.key.get_secret_value()}\n{client.certificate}"
    _check_costs_little(text)
    with TemporaryDirectory(prefix="errand-tls-") as folder:
        chain = Path(folder, "chain.pem")
        chain.touch(mode=0o600)
        chain.write_text(text)
        try:
            context.load_cert_chain(chain, password=lambda: b"")
        except (ssl.SSLError, ValueError):
            raise ValueError(NO_CERTIFICATE) from None


def _check_costs_little(chain: str) -> None:
    """Raises ValueError for what would hold up the event loop: anybody with a key that writes may send it."""
    from cryptography.x509 import load_pem_x509_certificate

    if any(word in chain for word in COSTLY):
        raise ValueError(NO_CERTIFICATE)
    try:
        # the first in the text, as OpenSSL takes it
        public = load_pem_x509_certificate(chain.encode()).public_key()
    except Exception:  # noqa: BLE001  # whatever a parser says of what is no certificate
        raise ValueError(NO_CERTIFICATE) from None
    if getattr(public, "key_size", 0) > LARGEST_KEY_BITS:
        raise ValueError(f"must have a key of {LARGEST_KEY_BITS} bits at most")

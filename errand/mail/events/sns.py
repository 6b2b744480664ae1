"""Messages of Amazon SNS, by which SES reports: whether they are its own, and of the topic that is ours.

Everybody with an account at AWS can have SNS sign messages: the signature says that SNS sent one, the topic for whom.
The certificate is fetched from a host of SNS alone, whatever the message names (AWS: "Verifying the signatures of
Amazon SNS messages").
"""

from __future__ import annotations

import re
import ssl
import threading
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http.client import HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from errand.extras import needs
from errand.mail.events.email_event import BadSignature, NotAnEvent

SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""The fields that are signed, by the message's type, in their order; one that a message does not have is left out."""


CERTIFICATE = re.compile(r"https://[a-z0-9.-]+/[A-Za-z0-9_-]+\.pem")
"""As SNS spells them: with other letters of the host, a query or a step in the path it would be the same one."""


AGE_LIMIT = timedelta(days=1)
"""SNS tries a message for an hour at most. An older one that somebody has kept says nothing new."""


FETCH_LIMIT_S = 5.0


FETCH_LIMIT_BYTES = 64 * 1024


MAX_FETCHES = 2
"""At a time: somebody who knows the topic may name certificates without end. One more does not wait: the threads in
which it would are few, and store uploads too. SNS sends its message again."""


class FetchFault(Exception):
    """The certificate could not be fetched now."""


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """One that SNS has signed for the topic."""

    text: str
    subscribe_url: str | None
    """Of a confirmation: to be visited so that messages come."""


def verified(body: Mapping[str, Any], *, topic: str) -> SnsMessage:
    """The message in the body. Blocks while a certificate is fetched. Raises BadSignature, NotAnEvent, FetchFault."""
    fields = {name: value for name, value in body.items() if isinstance(value, str)}
    if fields.get("TopicArn") != topic:
        raise BadSignature("it is of another topic than SES_TOPIC_ARN")
    signed = SIGNED.get(fields.get("Type", ""))
    if signed is None:
        raise NotAnEvent("an SNS message is a Notification or a SubscriptionConfirmation")
    url = _of_sns(fields.get("SigningCertURL", ""), topic)
    # else one certificate would have any number of names, and push others out of those that are known
    if not CERTIFICATE.fullmatch(url):
        raise BadSignature("its SigningCertURL is none of SNS's")
    text = "".join(f"{name}\n{fields[name]}\n" for name in signed if name in fields)
    _check_signature(fields, text.encode(), url)
    _check_age(fields.get("Timestamp", ""))
    confirms = fields["Type"] == "SubscriptionConfirmation"
    return SnsMessage(fields.get("Message", ""), fields.get("SubscribeURL", "") if confirms else None)


def confirm(message: SnsMessage, *, topic: str) -> None:
    """Visits the URL by which the subscription begins. Blocks. Raises BadSignature, FetchFault."""
    fetch(_of_sns(message.subscribe_url or "", topic))


def _of_sns(url: str, topic: str) -> str:
    """The URL, if it is one of SNS in the topic's region. Raises BadSignature."""
    _, partition, _, region, *_ = topic.split(":")
    host = f"sns.{region}.amazonaws.com" + (".cn" if partition == "aws-cn" else "")
    try:
        parts = urlsplit(url)
        is_plain = parts.port is None and "@" not in parts.netloc
    except ValueError:
        is_plain = False
    if not is_plain or (parts.scheme, parts.hostname) != ("https", host) or not url.isascii() or not url.isprintable():
        raise BadSignature(f"it names a URL that is not on https://{host}")
    return url


def _check_signature(fields: Mapping[str, str], text: bytes, url: str) -> None:
    with needs("providers"):
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA1, SHA256
    hashed = {"1": SHA1, "2": SHA256}.get(fields.get("SignatureVersion", ""))
    if hashed is None:
        raise BadSignature("it has no SignatureVersion that is known")
    try:
        _public_key(url).verify(b64decode(fields.get("Signature", "")), text, PKCS1v15(), hashed())
    except (InvalidSignature, ValueError):
        raise BadSignature("the signature is not that of SNS") from None


def _check_age(timestamp: str) -> None:
    try:
        at = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        raise BadSignature("it has no Timestamp") from None
    if abs(datetime.now(UTC) - at) > AGE_LIMIT:
        raise BadSignature("it was signed at another time")


@lru_cache(maxsize=8)
def _public_key(url: str) -> Any:
    """The RSA key in the certificate there. Raises BadSignature, FetchFault."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    try:
        certificate = load_pem_x509_certificate(fetch(url))
    except ValueError:
        raise BadSignature("its SigningCertURL has no certificate") from None
    key = certificate.public_key()
    if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
        raise BadSignature("its certificate is out of date")
    if not isinstance(key, RSAPublicKey):
        raise BadSignature("its certificate has no RSA key")
    return key


_fetches = threading.BoundedSemaphore(MAX_FETCHES)


def fetch(url: str) -> bytes:
    """What is at that URL, 64 KiB at most. Follows no redirect, and uses no proxy. Raises FetchFault."""
    if not _fetches.acquire(blocking=False):
        raise FetchFault("too many certificates are fetched")
    try:
        parts = urlsplit(url)
        connection = HTTPSConnection(
            parts.hostname or "", parts.port, timeout=FETCH_LIMIT_S, context=ssl.create_default_context()
        )
        try:
            connection.request("GET", parts._replace(scheme="", netloc="").geturl() or "/")
            answer = connection.getresponse()
            if answer.status != 200:
                raise FetchFault(f"{parts.hostname} answered {answer.status}")
            return answer.read(FETCH_LIMIT_BYTES)
        finally:
            connection.close()
    except (OSError, HTTPException) as error:
        raise FetchFault(f"{parts.hostname}: {type(error).__name__}") from None
    finally:
        _fetches.release()

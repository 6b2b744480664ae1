"""SNS as a test has it: a key of its own, the certificate to it, and messages that it signs."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from errand.mail.events import sns

TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])


def certificate(*, ends_in: timedelta = timedelta(days=1)) -> bytes:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 1, now - timedelta(days=2), now + ends_in)
    return builder.sign(KEY, SHA256()).public_bytes(Encoding.PEM)


def message(text: dict[str, Any] | str, *, version: str = "2", **more: Any) -> dict[str, Any]:
    """A signed Notification, or what `more` makes of it."""
    fields = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": text if isinstance(text, str) else json.dumps(text),
        "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        **more,
    }
    named = sns.SIGNED.get(fields["Type"], ())
    signed = "".join(f"{name}\n{fields[name]}\n" for name in named if name in fields)
    signature = KEY.sign(signed.encode(), PKCS1v15(), SHA1() if version == "1" else SHA256())
    return {**fields, "Signature": b64encode(signature).decode()}

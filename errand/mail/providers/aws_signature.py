"""Signs requests as AWS asks for (Signature Version 4): the one part of its SDK that sending mail needs.

botocore would do it too, with 14 MB and a model of each of AWS's services. The steps are those of AWS's page "Create a
signed AWS API request", for paths that need no escapes and requests without a query.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """An access key; `session_token` for one that ends by itself."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AwsSigner:
    """Signs requests to one service in one region."""

    region: str
    service: str

    def headers(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        credentials: AwsCredentials,
        at: datetime,
    ) -> dict[str, str]:
        """These headers, `Host` among them, with the date and the signature; all of them are signed. `at` is in UTC."""
        moment = at.strftime("%Y%m%dT%H%M%SZ")
        token = {"X-Amz-Security-Token": credentials.session_token} if credentials.session_token else {}
        dated = {**headers, "X-Amz-Date": moment, **token}
        signed = {name.lower(): " ".join(value.split()) for name, value in sorted(dated.items(), key=_by_name)}
        names = ";".join(signed)
        lines = [f"{name}:{value}\n" for name, value in signed.items()]
        canonical = "\n".join([method, path, "", "".join(lines), names, hashlib.sha256(body).hexdigest()])
        scope = f"{moment[:8]}/{self.region}/{self.service}/aws4_request"
        to_sign = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = _hmac(self._key(credentials, day=moment[:8]), to_sign).hex()
        credential = f"Credential={credentials.access_key}/{scope}"
        return {**dated, "Authorization": f"{ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"}

    def _key(self, credentials: AwsCredentials, *, day: str) -> bytes:
        key = f"AWS4{credentials.secret_key}".encode()
        for part in (day, self.region, self.service, "aws4_request"):
            key = _hmac(key, part)
        return key


def _by_name(header: tuple[str, str]) -> str:
    return header[0].lower()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

"""Signs letters (DKIM, RFC 6376; ed25519 by RFC 8463), so that receivers know that the sender's domain sent them."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from errand.extras import needs

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

SIGNED = (
    *(b"from", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to", b"references"),
    *(b"mime-version", b"content-type", b"list-unsubscribe", b"list-unsubscribe-post"),
)
"""Headers that are signed if the letter has them (RFC 6376 §5.4.1)."""


ONCE = (b"from", b"reply-to", b"to", b"cc", b"subject", b"date")
"""Named once more than they are there: one that is put in on the way breaks the signature (RFC 6376 §8.15)."""


PIECE_BYTES = 256 * 1024
"""Of a body, read at a time: no other thread has its turn while a pattern is looked for, in 25 MB for 0.2 s."""


MIN_RSA_BITS = 1024
"""RFC 8301: verifiers take no shorter key; signers should use 2048."""


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A private key, and where receivers find the public one: `<selector>._domainkey.<domain>`."""

    key: RSAPrivateKey | Ed25519PrivateKey
    domain: str
    selector: str

    @classmethod
    def load(cls, file: Path, *, domain: str, selector: str) -> Self:
        """Reads an RSA or Ed25519 key in PEM. Raises ValueError, and ExtraMissing without `errand[dkim]`."""
        with needs("dkim"):
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
            from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
        try:
            key = load_pem_private_key(file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError):
            raise ValueError(
                "DKIM_KEY_FILE: cannot be read, or holds no private key in PEM without a password"
            ) from None
        if isinstance(key, RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
            raise ValueError(f"DKIM_KEY_FILE: an RSA key needs at least {MIN_RSA_BITS} bits")
        if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
            raise ValueError("DKIM_KEY_FILE: must be an RSA or an Ed25519 key")
        return cls(key, domain, selector)

    def sign(self, content: bytes, *, at_s: int) -> bytes:
        """The letter with its signature in front. The same letter and time give the same bytes."""
        head, _, body = content.partition(b"\r\n\r\n")
        headers = _headers(head)
        names = [name for name in SIGNED if name in headers] + [name for name in ONCE if name in headers]
        names += [name for name in ONCE if name not in headers]
        body_hash = b64encode(hashlib.sha256(_relaxed_body(body)).digest()).decode()
        unsigned = (
            f"DKIM-Signature: v=1; a={self._algorithm}; c=relaxed/relaxed; d={self.domain};\r\n"
            f" s={self.selector}; t={at_s};\r\n"
            f" h={_folded(b':'.join(names).decode(), after=':')};\r\n"
            f" bh={body_hash};\r\n"
            f" b="
        )
        left = dict(headers)
        signed = b"".join(_relaxed_header(name, left.pop(name)) + b"\r\n" for name in names if name in left)
        signed += _relaxed_header(b"dkim-signature", unsigned.partition(":")[2].encode())
        signature = b64encode(self._signature(signed)).decode()
        return f"{unsigned}{_folded(signature)}\r\n".encode() + content

    @property
    def _algorithm(self) -> str:
        return "rsa-sha256" if hasattr(self.key, "key_size") else "ed25519-sha256"

    def _signature(self, signed: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(hashlib.sha256(signed).digest())  # RFC 8463 §3: the hash is signed
        return self.key.sign(signed, PKCS1v15(), SHA256())


def _headers(head: bytes) -> dict[bytes, bytes]:
    """By name in small letters; a letter has each of those that are signed once."""
    unfolded = re.sub(rb"\r\n(?=[ \t])", b"", head)
    lines = (line.partition(b":") for line in unfolded.split(b"\r\n"))
    return {name.lower(): value for name, _, value in lines}


def _relaxed_header(name: bytes, value: bytes) -> bytes:
    """RFC 6376 §3.4.2."""
    return name + b":" + re.sub(rb"[ \t]+", b" ", re.sub(rb"\r\n", b"", value)).strip(b" \t")


def _relaxed_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.4. Its line ends are all CRLF."""
    body = b"".join(map(_with_single_blanks, _pieces(body))).rstrip(b" ")
    # no pattern: it would begin anew at each of the empty lines that somebody has typed
    body = body.rstrip(b"\r\n")
    return body + b"\r\n" if body else b""


def _pieces(body: bytes) -> Iterator[bytes]:
    """The body, each piece of whole lines."""
    start = 0
    while start < len(body):
        line_end = body.find(b"\r\n", start + PIECE_BYTES)
        end = len(body) if line_end < 0 else line_end + 2
        yield body[start:end]
        start = end


def _with_single_blanks(lines: bytes) -> bytes:
    """Lines without any, as those of an attachment are, cost no pattern."""
    if b" " not in lines and b"\t" not in lines:
        return lines
    return re.sub(rb"[ \t]+", b" ", lines).replace(b" \r\n", b"\r\n")


def _folded(text: str, *, after: str = "") -> str:
    """On lines of about 70 characters; white space counts for nothing there."""
    if not after:
        return "\r\n ".join(text[start : start + 70] for start in range(0, len(text), 70))
    lines = [""]
    for part in re.findall(rf"[^{after}]+{after}?", text):
        if len(lines[-1]) + len(part) > 70:
            lines.append("")
        lines[-1] += part
    return "\r\n ".join(lines)

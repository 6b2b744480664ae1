"""DKIM signatures, verified as a receiver does: by the public key and the rules of RFC 6376."""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from errand.mail.writing.compose import compose
from errand.mail.writing.dkim import DkimKey
from errand.mail.writing.message import Attachment, Message
from tests.mail.letters import DATE, SENDER, TEMPLATES

KEYS: dict[str, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey] = {
    "rsa-sha256": rsa.generate_private_key(65537, 2048),
    "ed25519-sha256": ed25519.Ed25519PrivateKey.generate(),
}


def key_file(folder: Path, key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> Path:
    file = folder / "dkim.pem"
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return file


def signed(folder: Path, algorithm: str, **more: object) -> bytes:
    key = DkimKey.load(key_file(folder, KEYS[algorithm]), domain="acme.example", selector="s1")
    message = Message(to="ada@example.com", name="Žofie " * 20, template="welcome", **more)  # type: ignore[arg-type]
    return compose(message, TEMPLATES, sender=SENDER, job_id="job-1", date=DATE, dkim=key).content


def check(content: bytes) -> None:
    """Raises InvalidSignature, or AssertionError for another body."""
    head, _, body = content.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", head)
    signature = fields.pop(0)
    assert signature.startswith(b"DKIM-Signature:")
    tags = dict(
        tag.strip().split("=", 1) for tag in re.sub(r"\s+", " ", signature.decode().partition(":")[2]).split(";")
    )
    tags = {name: value.replace(" ", "") for name, value in tags.items()}
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    canonical = b"".join(line + b"\r\n" for line in lines)
    assert b64decode(tags["bh"]) == hashlib.sha256(canonical).digest()
    data = b""
    for name in tags["h"].split(":"):
        matching = [field for field in fields if field.lower().startswith(name.encode() + b":")]
        if matching:
            fields.remove(matching[-1])
            data += relaxed(matching[-1]) + b"\r\n"
    data += relaxed(re.sub(rb"(\sb=)[^;]*\Z", rb"\1", signature))
    public = KEYS[tags["a"]].public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(b64decode(tags["b"]), data, padding.PKCS1v15(), SHA256())
    else:
        public.verify(b64decode(tags["b"]), hashlib.sha256(data).digest())
    assert (tags["d"], tags["s"], tags["t"]) == ("acme.example", "s1", str(int(DATE.timestamp())))


def relaxed(field: bytes) -> bytes:
    name, _, value = field.partition(b":")
    return name.lower().strip() + b":" + re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip()


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_receiver_can_verify_the_signature(tmp_path: Path, algorithm: str) -> None:
    content = signed(tmp_path, algorithm, attachments=[Attachment(content=b"\0" * 5000, filename="a.bin")])
    check(content)
    assert signed(tmp_path, algorithm) == signed(tmp_path, algorithm)
    assert max(map(len, content.split(b"\r\n\r\n")[0].split(b"\r\n"))) <= 80


@pytest.mark.parametrize(
    "text", [b"\r\n" * 30_000, b" \r\n" * 30_000, b" " * 200_000], ids=["lines", "blanks", "spaces"]
)
def test_blanks_that_somebody_has_typed_are_read_in_a_moment(tmp_path: Path, text: bytes) -> None:
    """A pattern for the last line ends held up the whole worker for ten seconds, in a thread as on the loop."""
    key = DkimKey.load(key_file(tmp_path, KEYS["ed25519-sha256"]), domain="acme.example", selector="s1")
    began_s = time.process_time()
    content = key.sign(b"From: a@acme.example\r\nTo: b@c.example\r\n\r\na" + text + b"b\r\n" + text, at_s=1)
    assert time.process_time() - began_s < 1
    assert content.endswith(text)


@pytest.mark.parametrize("algorithm", KEYS)
def test_what_is_changed_on_the_way_is_seen(tmp_path: Path, algorithm: str) -> None:
    content = signed(tmp_path, algorithm)
    with pytest.raises(AssertionError):
        check(content.replace(b"Your account", b"My account"))
    for old, new in ((b"\r\nTo: ", b"\r\nTo: x"), (b"\r\nSubject: ", b"\r\nSubject: Win\r\nSubject: ")):
        with pytest.raises(InvalidSignature):
            check(content.replace(old, new, 1))


def test_a_key_that_receivers_do_not_take_is_refused(tmp_path: Path) -> None:
    file = key_file(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ValueError, match="RSA or an Ed25519"):
        DkimKey.load(file, domain="acme.example", selector="s1")
    file.write_text("no key")
    with pytest.raises(ValueError, match="DKIM_KEY_FILE"):
        DkimKey.load(file, domain="acme.example", selector="s1")

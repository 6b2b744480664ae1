"""Signatures as Standard Webhooks 1.0 has them, and the secret behind them."""

from __future__ import annotations

import re
import stat
import threading
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from errand.webhooks.secret import kept_secret, new_secret, secret_of_url
from errand.webhooks.signing import Signer, _signing_with, new_signing_key, public_key, safe_id
from tests.conftest import make_settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_signatures_are_those_of_the_specification() -> None:
    signature = Signer(SECRET).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    at = datetime.fromtimestamp(1614265330, tz=UTC)
    theirs = standardwebhooks.Webhook(SECRET).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, '{"test": 2432232314}')
    assert signature == theirs


def test_the_delivery_that_receivers_are_shown_is_signed_with_the_secret_that_they_are_shown() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "receiving-webhooks.md").read_text()
    head, _, body = page.partition("```http\n")[2].partition("\n```")[0].partition("\n\n")
    headers = dict(re.findall(r"^([\w-]+): (.*)$", head, re.MULTILINE))
    (secret,) = re.findall(r"is signed with `(whsec_\S+)`", page)
    signature = Signer(secret).sign(headers["webhook-id"], headers["webhook-timestamp"], body.encode())
    assert signature == headers["webhook-signature"]


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [  # RFC 8032 §7.1, tests 1 and 2
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
)
def test_ed25519_is_that_of_the_rfc(seed: str, public: str, message: str, signature: str) -> None:
    key = f"whsk_{b64encode(bytes.fromhex(seed)).decode()}"
    assert public_key(key) == f"whpk_{b64encode(bytes.fromhex(public)).decode()}"
    assert _signing_with(key)(bytes.fromhex(message)) == f"v1a,{b64encode(bytes.fromhex(signature)).decode()}"
    both_halves = f"whsk_{b64encode(bytes.fromhex(seed + public)).decode()}"
    assert public_key(both_halves) == public_key(key)


def test_a_v1a_signature_verifies_with_the_public_key_alone() -> None:
    secret, key, body = new_secret(), new_signing_key(), b'{"n": 1}'
    headers = Signer(secret, key).headers("msg_1", body, now=datetime.now(UTC))
    symmetric, asymmetric = headers["webhook-signature"].split(" ")
    verifier = Ed25519PublicKey.from_public_bytes(b64decode(public_key(key).removeprefix("whpk_")))
    signed = b".".join((b"msg_1", headers["webhook-timestamp"].encode(), body))
    verifier.verify(b64decode(asymmetric.removeprefix("v1a,")), signed)
    assert symmetric.startswith("v1,") and standardwebhooks.Webhook(secret).verify(body, headers) == {"n": 1}


def test_a_message_is_signed_with_every_secret_and_verifies_with_each() -> None:
    old, current, body = new_secret(), new_secret(), b'{"n": 1}'
    headers = Signer(current, old).headers("msg_1", body, now=datetime.now(UTC))
    for secret in (old, current):
        assert standardwebhooks.Webhook(secret).verify(body, headers) == {"n": 1}
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(new_secret()).verify(body, headers)


def test_each_url_has_a_secret_of_its_own_that_stays_the_same() -> None:
    urls = ["https://a.example/", "https://a.example/hooks", "https://b.example/"]
    secrets = [secret_of_url(SECRET, url) for url in urls]
    assert len({SECRET, *secrets}) == 4 and secrets == [secret_of_url(SECRET, url) for url in urls]


@pytest.mark.parametrize("job_id", ["a.1.b", "x\r\nHost: y", "Žofie", "", "x" * 129])
def test_a_webhook_id_never_holds_a_dot_or_what_no_header_can(job_id: str) -> None:
    with pytest.raises(ValueError, match="webhook-id"):
        Signer(SECRET).headers(job_id, b"", now=datetime.now(UTC))
    safe = safe_id(job_id)
    assert safe == safe_id(job_id) != safe_id(job_id + "1")
    assert Signer(SECRET).headers(safe, b"", now=datetime.now(UTC))["webhook-id"] == safe
    assert safe_id("01a2292b-b8c9") == "01a2292b-b8c9"


def test_a_secret_is_made_once_however_many_ask_for_it_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    makers, path = 8, tmp_path / "new" / "webhook_secret"
    together = threading.Barrier(makers)

    def make(_: int) -> str:
        together.wait()
        return kept_secret(path)

    with ThreadPoolExecutor(makers) as pool:
        secrets = set(pool.map(make, range(makers)))
    assert secrets == {path.read_text().strip()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    make_settings(tmp_path, webhook_secret=secrets.pop())  # a secret that the setting would take


@pytest.mark.parametrize("left", ["", "\n", "whsec_", "whsec_c2hvcnQ="])
def test_a_file_that_holds_no_secret_signs_nothing(tmp_path: Path, left: str) -> None:
    """A disk may have lost what was in it: what an empty secret signs everybody can sign."""
    (tmp_path / "webhook_secret").write_text(left)
    with pytest.raises(ValueError, match="webhook_secret holds no secret"):
        kept_secret(tmp_path / "webhook_secret")

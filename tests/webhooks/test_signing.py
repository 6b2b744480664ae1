"""Signatures as Standard Webhooks 1.0 has them, and the secret behind them."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import standardwebhooks

from errand.webhooks.secret import kept_secret, new_secret, secret_of_url
from errand.webhooks.signing import Signer, safe_id
from tests.conftest import make_settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_signatures_are_those_of_the_specification() -> None:
    signature = Signer(SECRET).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


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

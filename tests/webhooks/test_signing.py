"""Signatures as Standard Webhooks 1.0 has them, and the secret behind them."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from errand.webhooks.signing import Signer, kept_secret
from tests.conftest import make_settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_signatures_are_those_of_the_specification() -> None:
    signature = Signer(SECRET).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


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

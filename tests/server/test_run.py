"""What the command that runs API and worker prints for a reader: an address that works, commands that fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from errand.server import run
from tests.conftest import make_settings


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
        ("::1", "http://[::1]:8123"),
        ("localhost", "http://localhost:8123"),
    ],
)
def test_the_address_is_one_that_a_client_on_this_machine_can_use(
    tmp_path: Path, redis_url: str, host: str, address: str
) -> None:
    settings = make_settings(tmp_path, redis_url=redis_url, host=host, port=8123, api_keys="key-0123456789abcdef")
    assert run.address(settings) == address


def test_only_job_types_that_the_api_serves_are_shown(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(tmp_path, redis_url=redis_url)
    run.greet(settings, {"webhook", "my_own"})
    listens, see, try_, command = capsys.readouterr().out.splitlines()
    assert "/docs" in listens and see.endswith("http://127.0.0.1:8000/dashboard")
    assert try_.endswith("Try:") and "/v1/jobs/webhook " in command
    run.greet(settings.model_copy(update={"dashboard": "off"}), {"my_own"})
    (listens,) = capsys.readouterr().out.splitlines()
    assert "/docs" in listens and "Try" not in listens


def test_an_api_that_does_not_answer_serves_no_job_types(tmp_path: Path, redis_url: str) -> None:
    settings = make_settings(tmp_path, redis_url=redis_url, port=1)
    assert (run.is_ready(settings), run.job_types_of(settings)) == (False, set())

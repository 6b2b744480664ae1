"""What the command that runs API and worker prints for a reader: an address that works, commands that fit."""

from __future__ import annotations

import errno
import sys
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest

from errand.server import run
from tests.conftest import make_settings
from tests.waiting import NEVER_S


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


class Full(StringIO):
    """An output on a disk without room, once it has had so much."""

    def write(self, text: str) -> int:
        if "the last" not in text:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.mark.parametrize("out", [TextIOWrapper(BytesIO(), encoding="ascii"), Full()], ids=["no UTF-8", "full"])
def test_whatever_a_program_prints_it_does_not_stand_still(
    out: TextIOWrapper | StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a pipe that nobody reads 64 KiB are taken; then whoever prints or logs waits, and with it its event loop."""
    monkeypatch.setattr(sys, "stdout", out)
    lines = "print('ü' * 20); sys.stdout.buffer.write(b'caf\\xe9\\n'); sys.stdout.flush()"
    program = run.Program("api", ["-c", f"import sys\nfor _ in range(5_000): {lines}\nprint('the last')"])
    program.wait(NEVER_S)
    assert program.process.returncode == 0
    if isinstance(out, StringIO):
        assert out.getvalue() == "api    | the last\n"
        return
    out.seek(0)
    printed = out.read().splitlines()
    assert printed[:2] == ["api    | " + "\\xfc" * 20, "api    | caf\\xe9"]
    assert (len(printed), printed[-1]) == (10_001, "api    | the last")


def test_an_api_that_does_not_answer_serves_no_job_types(tmp_path: Path, redis_url: str) -> None:
    settings = make_settings(tmp_path, redis_url=redis_url, port=1)
    assert (run.is_ready(settings), run.job_types_of(settings)) == (False, set())

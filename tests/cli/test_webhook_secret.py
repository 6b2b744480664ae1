"""`errand webhook-secret`: what a receiver verifies with."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from errand.cli.main import app
from errand.webhooks.secret import secret_of_url

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_secret_of_a_url_is_the_one_its_deliveries_are_signed_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    # the URL as the job has it: with a path, whether or not it was given
    printed = CliRunner().invoke(app, ["webhook-secret", "https://receiver.example"]).stdout
    assert printed.strip() == secret_of_url(SECRET, "https://receiver.example/")
    refused = CliRunner().invoke(app, ["webhook-secret", "receiver.example"])
    assert refused.exit_code == 2

"""The README says what is true: its commands, its settings, its lines to try."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service import run
from settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_lines_to_try_are_those_that_make_run_prints(capsys: pytest.CaptureFixture[str]) -> None:
    run.greet(Settings())
    printed = re.findall(r"curl .*", capsys.readouterr().out)
    shown = re.findall(r"^\$ (curl .* (?:-d|-F) .*)$", README, re.MULTILINE)
    assert shown == printed


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    table = README.partition("## Settings")[2].partition("\n\n**")[0]
    named = {
        name for row in re.findall(r"^\| (`[A-Z].*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == {name.upper() for name in Settings.model_fields}


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+(?:-[a-z]+)*)", README)) <= targets

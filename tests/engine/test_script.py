"""The Lua scripts as texts: what one is made of, and how long its pieces are."""

import re
from pathlib import Path

import pytest

import jobs.engine
from jobs.engine.script import WITH

PAGE_LINES = 75
SCRIPTS = sorted(Path(jobs.engine.__file__).parent.glob("*.lua"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_each_script_and_part_fits_a_page(script: Path) -> None:
    assert len(script.read_text().splitlines()) <= PAGE_LINES


def test_what_a_script_is_to_hold_is_found_and_whole() -> None:
    for script in SCRIPTS:
        text = script.read_text()
        # one that is spelt or indented otherwise would be left a comment, and one in a part is not looked for
        assert len(re.findall(r"-- with \w+\.lua\s*$", text, re.MULTILINE)) == len(WITH.findall(text))
        for part in WITH.findall(text):
            assert not WITH.search(script.with_name(part).read_text()), f"{part} stands in {script.name}"


def test_no_part_is_left_over() -> None:
    """A file that is neither called nor stands in one that is."""
    named = {f"{name}.lua" for name in _loaded()} | {
        part for script in SCRIPTS for part in WITH.findall(script.read_text())
    }
    assert {script.name for script in SCRIPTS} == named


def _loaded() -> set[str]:
    sources = "".join(source.read_text() for root in ("jobs", "service") for source in Path(root).rglob("*.py"))
    return set(re.findall(r'script\.load\([\w.]+, "(\w+)"\)', sources))

"""The Lua scripts as texts: what each is made of, and how long its pieces are."""

import re

import pytest

from errand.redis import script
from errand.redis.script import INCLUDE, ROOT, TAGGED

PAGE_LINES = 75
BEFORE_ALL = {TAGGED}
TEXTS = {path.relative_to(ROOT).with_suffix("").as_posix(): path.read_text() for path in sorted(ROOT.rglob("*.lua"))}


def included_in(text: str) -> set[str]:
    return {line[1] for line in INCLUDE.finditer(text)}


PARTS = {name for name in TEXTS if "/parts/" in name}


@pytest.mark.parametrize("name", TEXTS)
def test_each_script_and_part_fits_a_page(name: str) -> None:
    assert len(TEXTS[name].splitlines()) <= PAGE_LINES


@pytest.mark.parametrize("name", TEXTS)
def test_each_include_is_spelt_so_that_it_is_found_and_names_a_part(name: str) -> None:
    # one that is spelt or indented otherwise would be left a comment
    assert len(re.findall(r"--+ *@?include", TEXTS[name])) == len(INCLUDE.findall(TEXTS[name]))
    assert included_in(TEXTS[name]) <= PARTS


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - PARTS))
def test_each_part_stands_in_a_script_once(name: str) -> None:
    whole = script.source(name)
    assert not INCLUDE.search(whole)
    functions = re.findall(r"^local function (\w+)", whole, re.MULTILINE)
    assert len(functions) == len(set(functions))


@pytest.mark.parametrize("name", sorted(PARTS))
def test_each_part_names_what_it_needs_itself(name: str) -> None:
    defined = {
        function: part for part in PARTS for function in re.findall(r"^local function (\w+)", TEXTS[part], re.MULTILINE)
    }
    needed = {part for function, part in defined.items() if re.search(rf"\b{function}\(", TEXTS[name])} - {name}
    assert needed <= included_in(TEXTS[name])


def test_no_file_is_left_over() -> None:
    """A script that nobody loads, or a part that is included nowhere."""
    included = {part for text in TEXTS.values() for part in included_in(text)}
    assert included == PARTS
    assert _loaded() == TEXTS.keys() - PARTS - BEFORE_ALL


def _loaded() -> set[str]:
    sources = "".join(path.read_text() for path in ROOT.rglob("*.py"))
    return set(re.findall(r'script\.load\([\w.]+, "([\w/]+)"\)', sources))

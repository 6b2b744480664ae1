"""A fingerprint is the same for the same fault and another for another, wherever the code lies."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel, field_validator

from errand.wire import fingerprint


def fault_in(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # whichever it is
        call()
    return caught.value


def inner() -> None:
    raise ValueError("x")


class Shelf:
    def reach(self) -> None:
        json.loads("{")


class Cup(BaseModel):
    size: int

    @field_validator("size")
    @classmethod
    def _fits(cls, size: int) -> int:
        raise LookupError("no shelf for it")


def test_it_names_the_class_and_the_innermost_own_function() -> None:
    assert fingerprint.of(fault_in(inner)) == "ValueError@tests.wire.test_fingerprint:inner"
    assert fingerprint.of(fault_in(lambda: inner())).endswith(":inner")


def test_what_the_job_says_that_a_fault_is_about_comes_first() -> None:
    fault = fault_in(inner)
    mark = fingerprint.of(fault, about="acme-billing")
    assert mark == f"acme-billing/{fingerprint.of(fault)}" and fingerprint.about_in(mark) == "acme-billing"
    assert fingerprint.about_in(fingerprint.of(fault)) == ""
    for about, word in (("a b/c", "a_b_c"), ("x" * 500, "x" * 64)):
        assert fingerprint.about_word(about) == fingerprint.about_in(fingerprint.of(fault, about=about)) == word


def test_what_the_standard_library_or_a_package_does_for_us_is_our_callers_matter() -> None:
    assert fingerprint.of(fault_in(Shelf().reach)) == "JSONDecodeError@tests.wire.test_fingerprint:Shelf.reach"
    assert fingerprint.of(fault_in(lambda: Cup(size=1))) == "LookupError@tests.wire.test_fingerprint:Cup._fits"


def test_a_comprehension_is_part_of_its_function_in_every_python() -> None:
    def breaks() -> list[int]:
        return [1 // number for number in (1, 0)]

    mark = fingerprint.of(fault_in(breaks))
    assert mark.endswith("breaks") and "listcomp" not in mark


def test_an_error_that_was_never_raised_has_its_class_alone() -> None:
    assert fingerprint.of(ValueError("x")) == "ValueError"


def test_a_fault_in_an_engine_or_library_call_alone_has_its_class_alone() -> None:
    assert fingerprint.of(fault_in_a_frame_of("errand.wire.records", "raise ValueError")) == "ValueError"
    assert fingerprint.of(fault_in_a_frame_of("errand.resources.storage", "raise OSError")) == "OSError"


def fault_in_a_frame_of(module: str, statement: str) -> BaseException:
    """An error whose traceback has frames of that module alone."""
    code = compile(statement, "/srv/house/room.py", "exec")
    error = fault_in(lambda: exec(code, {"__name__": module}))
    while error.__traceback__ is not None and error.__traceback__.tb_frame.f_globals.get("__name__") != module:
        error = error.with_traceback(error.__traceback__.tb_next)
    return error


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[ModuleType]:
    """A package of job types that was installed, and another one that it uses."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "acme_parts.py").write_text("def part():\n    raise OSError('no part')\n")
    (folder / "acme_jobs.py").write_text("import acme_parts\n\ndef send():\n    acme_parts.part()\n")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("acme_jobs")
    sys.path.remove(str(folder))
    for name in ("acme_jobs", "acme_parts"):
        sys.modules.pop(name)


def test_an_installed_package_of_job_types_is_its_jobs_own(installed: ModuleType) -> None:
    error = fault_in(installed.send)
    # as the engine sees it: its own frames, then the job function's
    assert error.__traceback__ is not None
    seen = error.with_traceback(error.__traceback__.tb_next)
    while seen.__traceback__ is not None and seen.__traceback__.tb_frame.f_code.co_name != "send":
        seen = seen.with_traceback(seen.__traceback__.tb_next)
    assert fingerprint.of(seen) == "OSError@acme_jobs:send"


@pytest.mark.parametrize("name", ["My Error", "Tab\tError", "Line\nError", "Bell\x07Error", "No\u00a0Break"])
def test_it_is_one_word_for_a_class_of_any_name(name: str) -> None:
    error = type(name, (Exception,), {})("x")
    assert " " not in fingerprint.of(error) and fingerprint.of(error).isprintable()


def test_it_is_bounded() -> None:
    assert len(fingerprint.of(type("E" * 5_000, (Exception,), {})("x"))) == 200

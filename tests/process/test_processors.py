"""What `auto` means for a number of processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from errand.process.processors import count
from errand.settings.units import parse_processes
from tests.conftest import make_settings


@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", 999), ("150000 100000", 2), ("10000 100000", 1), ("", 999), (None, 999)]
)
def test_auto_is_as_many_as_this_process_and_its_container_may_use(
    tmp_path: Path, quota: str | None, most: int
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    assert count("auto", cpu_max=file) == min(len(os.sched_getaffinity(0)), most)
    assert count(3, cpu_max=file) == 3


@pytest.mark.parametrize("bad", ["0", "-1", "many", "1.5", "257", ""])
def test_what_is_no_number_of_processes_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 256, or auto"):
        parse_processes(bad)


def test_worker_processes_share_the_cores_unless_a_setting_says_otherwise(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, cpu_processes=3)
    assert settings.for_one_of(2).cpu_processes == 3
    unset = settings.model_copy(update={"cpu_processes": 8})
    object.__setattr__(unset, "__pydantic_fields_set__", unset.model_fields_set - {"cpu_processes"})
    assert [unset.for_one_of(number).cpu_processes for number in (2, 3, 16)] == [4, 2, 1]

"""Lua and Python mean the same by each slot of a row: the names in the scripts are those of the rows, in order."""

from __future__ import annotations

import re

from errand.leases.rows import ClaimedRow, FinishRow
from errand.redis import script


def test_finish_takes_a_row_by_its_names() -> None:
    text = script.source("leases/finish")
    (names,) = re.findall(r"local ([\w, ]+) = unpack\(ARGV, at, at \+ 8\)", text)
    assert tuple(names.split(", ")) == FinishRow._fields
    assert re.findall(r"for at = 3, #ARGV, (\d+) do", text) == [str(len(FinishRow._fields))]


def test_claim_answers_a_row_by_its_names() -> None:
    (names,) = re.findall(r"return \{(id, [\w, ]+)\}", script.source("leases/claim"))
    assert tuple(names.split(", ")) == ClaimedRow._fields

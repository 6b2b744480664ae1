"""Records are JSON, and nothing read from Redis can run code."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from pydantic_core import PydanticSerializationError

from errand.wire.codec import dumps, loads
from errand.wire.job_id import new_job_id
from errand.wire.records import Error, JobCancelled, JobFailed


def test_a_record_comes_back_as_it_was() -> None:
    record: dict[str, object] = {
        "f": "name",
        "k": {"text": "ä☃", "list": [1, 2.5, None, True]},
        "t": None,
        "a": [],
        "et": 1,
    }
    assert loads(dumps(record)) == record


def test_an_exception_comes_back_as_what_arqs_result_raises() -> None:
    failed = loads(dumps({"s": False, "r": JobFailed(Error("ValueError", "no", "trace"))}))["r"]
    assert isinstance(failed, JobFailed) and failed.error == Error("ValueError", "no", "trace")
    foreign = loads(dumps({"s": False, "r": KeyError("x")}))["r"]
    assert isinstance(foreign, JobFailed) and foreign.error.type == "KeyError"
    for cancelled in (asyncio.CancelledError("stop"), JobFailed(Error("Cancel", "stop"), cancelled=True)):
        again = loads(dumps({"s": False, "r": cancelled}))["r"]
        assert isinstance(again, JobCancelled) and again.error.message == "stop"


def test_an_error_of_an_earlier_or_later_release_can_be_read() -> None:
    early = loads(b'{"s": false, "r": {"$error": {"type": "Key Error", "message": "no", "traceback": null}}}')["r"]
    assert early.error == Error("Key Error", "no") and early.error.fingerprint == "Key_Error"
    error = b'{"type": "KeyError", "message": "no", "traceback": null, "fingerprint": "KeyError@a:b", "colour": 1}'
    late = loads(b'{"s": false, "r": {"$error": %b}}' % error)["r"]
    assert late.error == Error("KeyError", "no", fingerprint="KeyError@a:b")


def test_a_result_that_looks_like_an_error_stays_a_result() -> None:
    assert loads(dumps({"s": True, "r": {"$error": {"type": "x"}}}))["r"] == {"$error": {"type": "x"}}


def test_what_json_cannot_hold_is_refused_and_nan_becomes_null() -> None:
    with pytest.raises(PydanticSerializationError):
        dumps({"r": object()})
    assert loads(dumps({"r": float("nan")})) == {"r": None}


@pytest.mark.parametrize("foreign", [pickle.dumps({"f": "os.system"}), b"[]", b"", b"{", b'"text"'])
def test_anything_but_a_json_object_is_refused(foreign: bytes) -> None:
    with pytest.raises(ValueError):
        loads(foreign)


def test_an_error_is_cut_and_keeps_the_innermost_end_of_its_traceback() -> None:
    def deep(levels: int) -> None:
        if levels == 0:
            raise ValueError("x" * 5000)
        deep(levels - 1)

    with pytest.raises(ValueError) as caught:
        deep(100)
    error = Error.of(caught.value)
    assert len(error.message) == 1000
    assert error.traceback is not None and len(error.traceback) == 4000


def test_job_ids_are_version_7_and_sort_by_the_time_they_were_made() -> None:
    ids = [new_job_id() for _ in range(20_000)]
    assert len(set(ids)) == len(ids) and sorted(ids) == ids
    assert {(job_id[14], job_id[19] in "89ab") for job_id in ids} == {("7", True)}


def test_the_exceptions_of_a_group_are_named() -> None:
    inner = ExceptionGroup("unhandled errors in a TaskGroup", [KeyError("b"), ValueError("no such customer")])
    error = Error.of(ExceptionGroup("several", [OSError("disk full"), inner]))
    assert error.type == "ExceptionGroup"
    for words in ("OSError: disk full", "KeyError: 'b'", "ValueError: no such customer"):
        assert words in error.message
    many = Error.of(ExceptionGroup("many", [ValueError(str(number)) for number in range(1000)]))
    assert "ValueError: 9; …]" in many.message

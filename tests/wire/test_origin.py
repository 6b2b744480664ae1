"""Where a job comes from is read again as it was written, by this version's form and by those before."""

from __future__ import annotations

from typing import Any

import pytest

from errand.leases.leases import Claim
from errand.wire import codec
from errand.wire.origin import (
    NO_ORIGIN,
    OWN_TRACE,
    UNSAMPLED,
    JobOrigin,
    Origin,
    UnsampledOrigin,
    dumps_with,
    with_names,
)
from errand.worker.runners import claimed_job

TRACE, SPAN = "1" * 32, "2" * 16
LEFT_OUT, SAMPLED = f"00-{TRACE}-{SPAN}-02", f"00-{TRACE}-{SPAN}-03"
JOB: dict[str, Any] = {"t": None, "f": "noop", "a": [], "k": {}, "et": 1}


def read(body: bytes) -> claimed_job.ClaimedJob:
    claim = Claim(job_id="a", token="t", job_try=1, due_at_ms=1, lost=False, body=body, attempts=[])
    return claimed_job.read(claim, codec.loads)


@pytest.mark.parametrize(
    "origin",
    [
        NO_ORIGIN,
        OWN_TRACE,
        UnsampledOrigin.of(LEFT_OUT),
        JobOrigin(parent={"traceparent": SAMPLED}),
        JobOrigin(parent={"traceparent": LEFT_OUT, "tracestate": "a=b"}),
        JobOrigin(parent={"traceparent": LEFT_OUT}, request_id="9f2c-1"),
        JobOrigin(follows={"traceparent": LEFT_OUT}),
    ],
)
def test_it_is_read_as_it_was_written(origin: Origin) -> None:
    body = dumps_with(origin, {**JOB, "k": {"of": 1}})
    job = read(body)
    assert (job.function, job.kwargs, job.origin) == ("noop", {"of": 1}, origin)
    seen, named = JobOrigin.of(codec.loads(body), job_id="a"), with_names(origin, job_id="a")
    assert (seen.parent, seen.follows, seen.request_id) == (named.parent, named.follows, named.request_id)
    assert seen.trace_id == named.trace_id


def test_a_trace_is_kept_as_a_text_and_was_once_kept_as_headers() -> None:
    assert codec.loads(dumps_with(UnsampledOrigin.of(LEFT_OUT), JOB))["origin"] == LEFT_OUT
    assert codec.loads(dumps_with(JobOrigin(parent={"traceparent": SAMPLED}), JOB))["origin"] == SAMPLED
    before = codec.dumps({**JOB, "origin": {"trace": {"traceparent": LEFT_OUT}}})
    assert read(before).origin == JobOrigin(parent={"traceparent": LEFT_OUT})


@pytest.mark.parametrize(
    ("job_id", "trace_id"),
    [
        ("0197d3c4-11fe-7a2b-9c3d-4e5f60718293", "0197d3c411fe7a2b9c3d4e5f60718293"),
        ("nightly", None),
        ("0197D3C4-11FE-7A2B-9C3D-4E5F60718293", None),
        ("\ud800", None),
    ],
)
def test_a_trace_that_a_job_begins_has_its_id_or_a_hash_of_one_that_was_chosen(
    job_id: str, trace_id: str | None
) -> None:
    seen = JobOrigin.of({"origin": 0}, job_id=job_id)
    assert seen.trace_id == trace_id or (trace_id is None and seen.trace_id is not None and seen.trace_id[16] == "8")
    assert UNSAMPLED.fullmatch((seen.parent or {})["traceparent"])


def test_it_is_found_before_what_a_script_has_added() -> None:
    body = dumps_with(UnsampledOrigin.of(LEFT_OUT), JOB)[:-1] + b',"expires_at":99}'
    assert read(body).origin == JobOrigin(parent={"traceparent": LEFT_OUT})
    own = dumps_with(OWN_TRACE, JOB)[:-1] + b',"expires_at":99}'
    assert read(own).origin == JobOrigin.of({"origin": 0}, job_id="a")


@pytest.mark.parametrize(
    "args",
    [{"of": {"origin": LEFT_OUT}}, {"of": f'x,"origin":"{LEFT_OUT}"'}, {"of": 1, "origin": LEFT_OUT}, {"origin": 0}],
)
def test_what_only_looks_like_it_in_the_args_stays_there(args: dict[str, Any]) -> None:
    job = read(codec.dumps({"t": None, "f": "noop", "a": [], "et": 1, "k": args}))
    assert (job.kwargs, job.origin) == (args, NO_ORIGIN)


@pytest.mark.parametrize("kept", ["nonsense", f"00-{TRACE}-{SPAN}", 7, False, 0.0, [LEFT_OUT], {"trace": 7}])
def test_what_makes_no_sense_counts_as_nothing(kept: object) -> None:
    assert read(codec.dumps({**JOB, "origin": kept})).origin == NO_ORIGIN

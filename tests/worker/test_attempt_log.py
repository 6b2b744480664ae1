"""One line for each attempt, in the form of the process's log, and from its level on."""

from __future__ import annotations

import asyncio
import json

import pytest

from errand.wire.records import Attempt, Error, RunningAttempt
from errand.worker.runners.attempt_log import AttemptLog

STARTED = RunningAttempt(number=2, due_at_ms=1_795_215_011_000, started_at_ms=1_795_215_011_010, worker="host:1:abc")
SUCCEEDED = Attempt.end(STARTED, "succeeded", at_ms=1_795_215_011_043)
RETRY = Attempt.end(
    STARTED, "retry", at_ms=1_795_215_011_043, error=Error("Retry", "busy\nnow"), next_attempt_at_ms=1_795_215_016_043
)
FAILED = Attempt.end(STARTED, "failed", at_ms=1_795_215_011_043, error=Error("Fail", "no"))


async def lines(log: AttemptLog, capsys: pytest.CaptureFixture[str], *ended: Attempt) -> list[str]:
    for attempt in ended:
        log.add("webhook", "id-1", attempt)
    assert capsys.readouterr().out == "", "written together, at the end of the loop's turn"
    await asyncio.sleep(0)
    return capsys.readouterr().out.splitlines()


async def test_a_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    succeeded, retry, failed = await lines(AttemptLog(), capsys, SUCCEEDED, RETRY, FAILED)
    known = "job_id=id-1 type=webhook attempt=2"
    assert succeeded == (
        f"2026-11-20T22:50:11.043Z [info] attempt [errand.worker] {known} outcome=succeeded duration_s=0.033"
    )
    assert retry.endswith("outcome=retry duration_s=0.033 retry_in_s=5.0 error='Retry: busy\\nnow'")
    assert "[error]" in failed


async def test_a_line_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = await lines(AttemptLog("json"), capsys, RETRY)
    assert json.loads(line) == {
        "event": "attempt",
        "level": "info",
        "logger": "errand.worker",
        "timestamp": "2026-11-20T22:50:11.043Z",
        "job_id": "id-1",
        "type": "webhook",
        "attempt": 2,
        "outcome": "retry",
        "duration_s": 0.033,
        "retry_in_s": 5.0,
        "error": "Retry: busy\nnow",
    }


@pytest.mark.parametrize(("level", "number"), [("debug", 3), ("info", 3), ("warning", 1), ("error", 1)])
async def test_the_level_decides_which_attempts_have_a_line(
    capsys: pytest.CaptureFixture[str], level: str, number: int
) -> None:
    assert len(await lines(AttemptLog(level=level), capsys, SUCCEEDED, RETRY, FAILED)) == number

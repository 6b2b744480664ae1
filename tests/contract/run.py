"""Runs schemathesis against a live service, and reads what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes.conftest import ROOT, House

KEY = "contract-0123456789"
"""The API key of an installation that has one."""


STREAM_READ_S, MAX_LATE = 0.8, 5
"""How long each stream is read (schemathesis.toml), and how many of some hundreds may have no answer by then."""


@dataclass(frozen=True)
class Found:
    """What a run of schemathesis came to."""

    passed: bool
    output: str
    report: dict[str, Any]

    @property
    def is_slow_only(self) -> bool:
        """True if all that is wrong is that a stream or two began late: a busy machine breaks no promise.

        One that never begins has an error for each of its cases.
        """
        errors = sum(error["count"] for error in self.report["errors"])
        late = self.output.count(f"Read timed out after {STREAM_READ_S} seconds")
        errored = self.report["test_cases"]["errored"]
        return not self.report["failures"] and errors == late and errored <= MAX_LATE

    def __str__(self) -> str:
        operations, cases = self.report["operations"], self.report["test_cases"]
        return (
            f"schemathesis {self.report['schemathesis_version']}, seed {self.report['seed']}, "
            f"{self.report['running_time']:.0f} s: {operations['tested']} of {operations['total']} operations, "
            f"{cases['generated']} cases, {cases['unique_failures']} failures"
        )


def run(house: House, *options: str, key: str | None) -> Found:
    """All phases and checks against the API of that house; `options` are the command's own."""
    report = house.data_dir / "schemathesis.json"
    secret = ["--header", f"Authorization: Bearer {key}"] if key else []
    config = str(Path(__file__).parent / "schemathesis.toml")
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", config, "run"]
    done = subprocess.run(
        [
            *command,
            f"{house.url}/openapi.json",
            "--no-color",
            "--report",
            "json",
            "--report-json-path",
            str(report),
            *secret,
            *options,
        ],
        cwd=house.data_dir,
        # each request of it looks through all variables for a proxy, twice
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "CONTRACT_RECEIVER": f"127.0.0.1:{house.sink_port}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout
    return Found(passed=done.returncode == 0, output=done.stdout, report=json.loads(report.read_text()))

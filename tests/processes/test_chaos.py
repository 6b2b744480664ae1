"""The short form of `make chaos`: every kind of fault within a quarter of a minute, and nothing lost."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.processes.conftest import ROOT

SECONDS = 16
SEED = 4
LIMIT_S = 240
LEEWAY = 1000
"""The bars on time are for a machine with nothing else to do, and for `make chaos`; those on loss stay as they are."""


def test_whatever_dies_every_accepted_job_is_accounted_for() -> None:
    options = {"--seconds": SECONDS, "--seed": SEED, "--leeway": LEEWAY, "--rate": 60}
    command = [sys.executable, "-m", "tests.chaos", *(str(part) for option in options.items() for part in option)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as chaos:
        try:
            said, _ = chaos.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            chaos.send_signal(signal.SIGINT)  # it ends the house that it has started
            said, _ = chaos.communicate()
    assert chaos.returncode == 0, said
    assert "\n0 promises broken" in said

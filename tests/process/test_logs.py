"""The form of a process's log lines."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys, structlog
from errand.process import logs
logs.configure(level="info", form=sys.argv[1])
forged = "job-1\\n2026-01-01 [info     ] all is well\\x1b[2K"
structlog.get_logger("errand.test").info("cancelled", job_id=forged)
logging.getLogger("arq.worker").warning("job %s not found", forged)
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_name_that_others_choose_forges_no_line(form: str) -> None:
    written = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True).stdout
    assert len(written.splitlines()) == 2 and written.count("all is well") == 2
    assert "\x1b[2K" not in written

"""What others have left is waited for; what this process has started is left to who started it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from errand.process import orphans
from tests.waiting import eventually_sync

ADOPT = 36
"""PR_SET_CHILD_SUBREAPER: orphans become children of this process, as of the first one of a container."""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux'")
def test_what_others_have_left_is_waited_for_and_no_child_of_its_own() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(ADOPT, 1, 0, 0, 0)
    try:
        # it outlives the shell, as it reads what nobody writes until the pipe is closed
        command = ["sh", "-c", "exec 3<&0; cat <&3 >/dev/null & echo $!"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
            assert shell.stdout is not None
            left = int(shell.stdout.readline())
            shell.wait()
        own = subprocess.Popen(["false"])
        eventually_sync(lambda: state_of(left) == state_of(own.pid) == "Z")
        orphans.reap([own.pid])
        assert state_of(left) == "Z", "this is not the first process"
        for _ in range(2):  # the own one may be the first that has ended
            orphans.reap([own.pid], first=os.getpid())
            assert own.wait() == 1
        assert state_of(left) is None
    finally:
        libc.prctl(ADOPT, 0, 0, 0, 0)


def state_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None

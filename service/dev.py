"""`make dev`: the API and a worker of this installation, started again when a file changes: `python -m service.dev`."""

import os
from pathlib import Path

from errand.cli.program import run_program
from service.run import PROGRAMS
from settings import Settings


def develop() -> int:
    """Start the API and a worker of this installation, again with each change of a file, until Ctrl-C."""
    from errand.server import dev

    return dev.run(Settings.read(), PROGRAMS, folder=Path.cwd(), env_file=os.environ.get("ENV_FILE"))


if __name__ == "__main__":
    run_program(develop, prog="python -m service.dev")

"""`make run`: the API and a worker of this installation as two processes, `python -m service.run`."""

from errand.cli.program import run_program
from settings import Settings

PROGRAMS = {"api": ["-m", "service"], "worker": ["-m", "jobs"]}


def run_both() -> int:
    """Start the API and a worker of this installation as two processes, until Ctrl-C."""
    from errand.server import run

    return run.run(Settings.read(), PROGRAMS)


if __name__ == "__main__":
    run_program(run_both, prog="python -m service.run")

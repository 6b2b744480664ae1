"""A worker of this installation: `python -m jobs`."""

from errand.cli.program import run_program
from settings import Settings


def work() -> None:
    """Run the jobs of this installation, until Ctrl-C or SIGTERM. Start as many workers as you like."""
    from errand.process import worker

    worker.run(Settings.read())


if __name__ == "__main__":
    run_program(work, prog="python -m jobs")

"""The API of this installation: `python -m service`."""

from errand.cli.program import run_program
from settings import Settings


def serve() -> None:
    """Serve the HTTP API of this installation on HOST and PORT (127.0.0.1:8000), until Ctrl-C or SIGTERM."""
    from errand.server import process

    process.run(Settings.read(), read_again=Settings.read)


if __name__ == "__main__":
    run_program(serve, prog="python -m service")

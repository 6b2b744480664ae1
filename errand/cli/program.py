"""Reads the command line of every program of Errand: each answers `--help` and refuses what it does not know.

An error takes one line on standard error. The exit code is 2 if the command line is wrong, 1 if the program cannot do
what it was asked, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import typer

from errand.process import lifeline

CTRL_C = 130

EXTRA = "errand["
"""An ImportError that says this names an extra to install, and is no fault: it takes one line, not a traceback."""

EndWithStdin = Annotated[bool, typer.Option(lifeline.FLAG, hidden=True)]
"""Accepted by each program that `errand.server.run` starts; `lifeline.hold` acts on it."""


def new_app(*, help: str | None = None) -> typer.Typer:  # Typer's own word
    """A Typer app with plain help, and with Python's own tracebacks for faults."""
    return typer.Typer(help=help, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def run_program(start: Callable[[], int | None], *, prog: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a program that takes no arguments. The docstring of `start` is its help, its result the exit code.

    ```python
    if __name__ == "__main__":
        run_program(serve, prog="python -m service")
    ```
    """
    app = new_app()

    @app.command(help=start.__doc__)
    def only(end_with_stdin: EndWithStdin = False) -> None:
        raise typer.Exit(start() or 0)

    execute(app, prog=prog, arguments=arguments)


def execute(app: typer.Typer, *, prog: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command that `arguments` ask for (the process's own by default), then exits."""
    import_from_here()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, prog_name=prog, standalone_mode=False)
    except typer.TyperException as error:
        print(_one_line(error, prog), file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except typer.Abort:
        raise SystemExit(CTRL_C) from None
    except ImportError as error:
        if EXTRA not in str(error):
            raise
        raise SystemExit(f"{prog}: {' '.join(str(error).split())}") from None
    raise SystemExit(code or 0)


def import_from_here() -> None:
    """Lets `myapp.jobs` be found in the current folder, as `python -m` does and an installed command does not."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())


def _one_line(error: typer.TyperException, prog: str) -> str:
    # a UsageError of Typer's knows which command it is about; the class is not public
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context else prog
    return f"{command}: {' '.join(error.format_message().split())} (see '{command} --help')"

"""The page of the command line, from the command's own help."""

from __future__ import annotations

from typer.main import get_command
from typer.testing import CliRunner

from errand.cli.main import app

HEAD = """# The command `errand`

`python -m errand` is the same. In a checkout of Errand, `make help` lists targets that set up what they need.
"""

COLUMNS = 96


def page() -> str:
    """The help of the command, and of each of its commands."""
    names = sorted(getattr(get_command(app), "commands", {}))
    return "\n".join([HEAD, _help(), *(f"## errand {name}\n\n{_help(name)}" for name in names)])


def _help(*command: str) -> str:
    # without the frames that a terminal is shown
    environment = {"COLUMNS": str(COLUMNS), "TERM": "dumb", "NO_COLOR": "1", "TYPER_USE_RICH": "0"}
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="errand", env=environment).output
    trimmed = "\n".join(line.rstrip() for line in shown.strip().splitlines())
    return f"```text\n{trimmed}\n```\n"

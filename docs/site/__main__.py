"""`python -m docs.site build|serve`: makes the site in `var/docs/html`, or serves it; a warning is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from docs.site import stage

ROOT = Path(__file__).parent.parent.parent
STAGED = ROOT / "var" / "docs"


def main(command: str) -> int:
    """Stages the pages and runs Zensical over them; returns its exit code."""
    stage.make(STAGED)
    extra = ["--strict", "--clean"] if command == "build" else []
    zensical = Path(sys.executable).with_name("zensical")
    return subprocess.call([str(zensical), command, "--config-file", str(STAGED / "zensical.toml"), *extra])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "build"))

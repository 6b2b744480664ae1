"""The command `errand`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command that the first argument names."""
    from errand.cli import doctor, key

    command = sys.argv.pop(1)
    if command == "key":
        key.main()
        return
    code = doctor.main()
    sys.stdout.flush()
    os._exit(code)

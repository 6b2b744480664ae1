"""`make run`: API and worker as two processes side by side, their logs prefixed, stopped together."""

import sys

from errand.server import run
from settings import Settings

PROGRAMS = {"api": ["-m", "service"], "worker": ["-m", "jobs"]}

if __name__ == "__main__":
    sys.exit(run.run(Settings.read(), PROGRAMS))

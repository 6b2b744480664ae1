"""Programs of this project as processes of tests, started without the seconds that imports take.

`start.py` is what tests call; `forker.py` is the process that has imported what those programs import, and forks.
"""

from tests.programs.start import Program as Program
from tests.programs.start import run as run
from tests.programs.start import start as start

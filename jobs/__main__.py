"""A worker of this installation: `python -m jobs`."""

from errand.process import worker
from settings import Settings

if __name__ == "__main__":
    worker.run(Settings.read())

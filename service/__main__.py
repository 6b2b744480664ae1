"""The API of this installation: `python -m service`."""

from errand.server import process
from settings import Settings

if __name__ == "__main__":
    process.run(Settings.read())

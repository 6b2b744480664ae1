"""The API of this installation as a process: `python -m service`. What it does is in `errand.server`."""

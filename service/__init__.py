"""The API as a server of its own: `python -m service`. What only a process on a port needs is here."""

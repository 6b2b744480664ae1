"""Folders that only this user can look into: what lies in them is jobs, mails, files and locks."""

from __future__ import annotations

from pathlib import Path

MODE = 0o700


def make(path: Path) -> None:
    """Makes it, and the folders above it that are missing, for this user alone. One that exists stays as it is."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=MODE, exist_ok=True)


def make_or_close(path: Path) -> None:
    """Makes it, or closes it to others: an older installation, or another umask, may have left it open.

    Raises PermissionError if it belongs to another user, who could read it and hold its locks.
    """
    make(path)
    if path.stat().st_mode & 0o077:
        path.chmod(MODE)

"""The page of licences: of everything that is installed with Errand, as each package says it itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LOCK = Path(__file__).parent.parent.parent / "requirements" / "run.lock"

HEAD = """# Licences

Errand is under the MIT licence. Its wheel contains nothing of anybody else. The image and `make run`
install these packages beside it, each under its own licence; `requirements/run.lock` has their hashes.

| package | version | licence |
|---|---|---|
"""

ELSEWHERE = "not installed on this system"


def page() -> str:
    """Each package of the lock file, in the order of the alphabet."""
    return HEAD + "\n".join(f"| {name} | {version} | {licence} |" for name, version, licence in entries()) + "\n"


def entries() -> Iterator[tuple[str, str, str]]:
    """Name, version and licence."""
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK.read_text(), re.MULTILINE):
        try:
            yield name, version, licence_of(distribution(name))
        except PackageNotFoundError:
            yield name, version, ELSEWHERE


def licence_of(package: Distribution) -> str:
    """By the newest of the three fields that packages have used for it."""
    said = package.metadata.json
    if expression := said.get("license_expression"):
        return str(expression)
    classifiers = [text.split(" :: ") for text in said.get("classifier", [])]
    named = [parts[-1] for parts in classifiers if parts[0] == "License" and parts[-1] != "OSI Approved"]
    return ", ".join(named) or str(said.get("license", "")).partition("\n")[0] or "see its own files"

"""What a client sees: problem details, and nothing left behind by a refused request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

LETTER = {"to": "ada@example.com", "name": "Ada"}
"""Args that `welcome_email` takes."""


def problem_of(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem details of an answer that must be that problem and must hold nothing of the service's inside."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text
    details: dict[str, Any] = answer.json()
    assert (details["status"], details["type"]) == (status, f"/problems/{kind}")
    assert details["title"] and details["detail"]
    return details


def faulty_fields(answer: httpx.Response) -> list[str]:
    """The fields that a 422 names."""
    return [error["field"] for error in problem_of(answer, 422, "invalid-request")["errors"]]


def stored_files(data_dir: Path) -> list[str]:
    """The keys of all files in the local storage."""
    folder = data_dir / "files"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

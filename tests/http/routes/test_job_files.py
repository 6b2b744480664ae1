"""Forgetting a job forgets its files: its outputs, and its upload if no other job has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from settings import Settings
from tests.http.answers_seen import stored_files
from tests.http.requests import forms

UPLOAD = forms.form(forms.part("args", b'{"sizes": [{"width": 10}]}'), forms.part("file", b"II*\0 the picture"))


async def test_a_job_is_forgotten_with_its_files(client: httpx.AsyncClient, settings: Settings) -> None:
    first = (await client.post("/v1/jobs/resize", content=UPLOAD, headers=forms.HEADERS)).json()
    second = (await client.post("/v1/jobs/resize", json=first["args"])).json()
    for job in (first, second):
        await client.post(f"/v1/jobs/{job['id']}/cancel")
        _write_output(settings.data_dir, job)
    upload = first["args"]["file"]["key"]
    assert (await client.delete(f"/v1/jobs/{first['id']}")).status_code == 204
    assert stored_files(settings.data_dir) == [_output_of(second), upload]
    assert (await client.delete(f"/v1/jobs/{second['id']}")).status_code == 204
    assert stored_files(settings.data_dir) == []


def _write_output(data_dir: Path, job: dict[str, Any]) -> None:
    path = data_dir / "files" / _output_of(job)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")


def _output_of(job: dict[str, Any]) -> str:
    return f"resize/{job['id']}/1.png"

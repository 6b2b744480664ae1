"""The documentation at `/guide`: there if it was built, for those who may see `/docs` without a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings import Settings
from tests.conftest import OpenClient, make_settings


@pytest.fixture
def built(settings: Settings) -> Path:
    folder = settings.data_dir / "docs" / "html"
    (folder / "jobs").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>Errand</h1>")
    (folder / "jobs" / "index.html").write_text("<h1>Jobs</h1>")
    return folder


async def test_a_site_that_was_built_is_served_with_its_own_scripts_alone(
    open_client: OpenClient, built: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s")
    async with open_client() as client:
        front = await client.get("/guide", follow_redirects=True)
        assert (front.status_code, front.text) == (200, "<h1>Errand</h1>")
        assert front.headers["content-security-policy"].startswith("default-src 'self'; script-src 'self' 'unsafe-inl")
        assert (await client.get("/guide/jobs", follow_redirects=True)).text == "<h1>Jobs</h1>"
        for path in ("nope", "../../secret", "%2e%2e/%2e%2e/secret", "..%2f..%2fsecret"):
            assert (await client.get(f"/guide/{path}")).status_code == 404
        assert (await client.get("/guide/", headers={"host": "evil.example"})).status_code == 403, "as /docs"


async def test_there_is_none_without_a_site_or_behind_keys(
    open_client: OpenClient, redis_url: str, tmp_path: Path, settings: Settings
) -> None:
    async with open_client() as client:
        assert (await client.get("/guide/")).status_code == 404
    (settings.data_dir / "docs" / "html").mkdir(parents=True)
    (settings.data_dir / "docs" / "html" / "index.html").touch()
    guarded = make_settings(tmp_path, redis_url=redis_url, api_keys=f"sha256:{'0' * 64}:read")
    async with open_client(guarded) as client:
        assert (await client.get("/guide/")).status_code == 404

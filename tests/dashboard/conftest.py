"""A service that others can reach, with two keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.dashboard.signed_in import OWNER, READER


@pytest.fixture
def guarded(tmp_path: Path, redis_url: str) -> Settings:
    return make_settings(tmp_path, redis_url=redis_url, api_keys=f"rita={READER}:read,olga={OWNER}")


@pytest.fixture
async def guarded_client(open_client: OpenClient, guarded: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(guarded, client=("203.0.113.7", 50_000)) as client:
        client.base_url = httpx.URL("https://errand.example")
        yield client

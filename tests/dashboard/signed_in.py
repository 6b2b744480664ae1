"""Keys of a guarded service, and signing in with one."""

from __future__ import annotations

import httpx

from tests.dashboard.page_seen import OWN_PAGE

READER, OWNER = "reader-0123456789", "owner-01234567890"


async def sign_in(client: httpx.AsyncClient, key: str, *, back: str = "/dashboard/jobs") -> httpx.Response:
    return await client.post("/dashboard/sign-in", data={"key": key, "back": back}, headers=OWN_PAGE)

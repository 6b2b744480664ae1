"""`errand key`: a key that works, of which only the hash has to be stored."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from errand.cli.key import entry_of, new_key
from tests import programs
from tests.conftest import OpenClient, make_settings


def made(*arguments: str) -> tuple[str, str]:
    """The key and the entry that the program prints."""
    printed = programs.run("errand", "key", *arguments, environment=os.environ).stdout
    ((key, entry),) = re.findall(r"^key +(\S+)$.*^entry +(\S+)$", printed, re.MULTILINE | re.DOTALL)
    return key, entry


async def test_the_key_lets_its_owner_in_and_the_entry_holds_no_secret(
    open_client: OpenClient, tmp_path: Path, redis_url: str
) -> None:
    key, entry = made("read")
    assert key not in entry and entry.endswith(":read")
    async with open_client(make_settings(tmp_path, redis_url=redis_url, api_keys=entry)) as client:
        listed = await client.get("/v1/job-types", headers={"Authorization": f"Bearer {key}"})
        assert listed.status_code == 200
        # the hash is no key
        for wrong in (entry, entry.split(":")[1]):
            refused = await client.get("/v1/job-types", headers={"Authorization": f"Bearer {wrong}"})
            assert refused.status_code == 401


def test_no_two_keys_are_alike() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert made()[0] != made()[0]


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="read, write, admin"):
        entry_of(new_key(), scopes="everything")
    ended = programs.run("errand", "key", "everything", environment=os.environ)
    assert ended.returncode == 2 and "read, write, admin" in ended.stderr

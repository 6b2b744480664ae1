"""The mail sink when it cannot keep a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from errand.mail.sink import opened_sink
from errand.mail.smtp import SmtpPool
from errand.mail.verdict import Unavailable
from tests.mail.letters import letter


async def test_a_sink_that_cannot_write_answers_452(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.touch()
    async with opened_sink(folder) as url:
        with pytest.raises(Unavailable, match="452"):
            async with SmtpPool.open(url) as pool:
                await pool.send(letter())

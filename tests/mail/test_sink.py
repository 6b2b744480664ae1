"""The mail sink when it cannot keep a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from errand.mail.kept_letters import newest_letters
from errand.mail.sink import opened_sink
from errand.mail.smtp import SmtpPool
from errand.mail.verdict import SenderRefused, Unavailable, Unsure
from errand.settings.mail import SinkFault
from tests.mail.letters import letter


async def test_a_sink_that_cannot_write_answers_452(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.touch()
    async with opened_sink(folder) as url:
        with pytest.raises(Unavailable, match="452"):
            async with SmtpPool.open(url) as pool:
                await pool.send(letter())


async def test_a_sink_refuses_at_the_rates_that_are_asked_for(tmp_path: Path) -> None:
    for fault, error in (("550:1", SenderRefused), ("451:1", Unavailable), ("drop:1", Unsure)):
        async with opened_sink(tmp_path, faults=[SinkFault.parse(fault)]) as url, SmtpPool.open(url) as pool:
            with pytest.raises(error):
                await pool.send(letter())
    faults = [SinkFault.parse("451:0"), SinkFault.parse("drop:0.0")]
    async with opened_sink(tmp_path, faults=faults) as url, SmtpPool.open(url) as pool:
        await pool.send(letter())
    assert len(newest_letters(tmp_path, limit=9)) == 1

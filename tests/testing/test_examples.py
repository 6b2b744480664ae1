"""`examples/report.py`, `nightly.py` and `llm_batch.py`: no step is lost or doubled, and limits hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest

from errand import Client
from errand.testing import JobsUnderTest
from examples import llm_batch, nightly, report
from settings import Settings
from tests.conftest import make_settings


@pytest.fixture
def errand_settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, job_packages="examples.report,examples.nightly,examples.llm_batch")


@pytest.fixture
async def client(jobs: JobsUnderTest, errand_settings: Settings) -> AsyncIterator[Client]:
    async with Client(errand_settings) as opened:
        yield opened


async def test_a_report_goes_through_its_steps_once_whatever_dies_and_is_away(
    client: Client, jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async for _ in jobs.dying_at_each_await():
        monkeypatch.setattr(report.Outside, "letters", [])
        monkeypatch.setattr(report.Outside, "mail_is_away", 2)
        await report.gather_sales.enqueue(day=date(2030, 1, 31))
        ran = await jobs.run_all()
        assert [job.type for job in ran] == ["gather_sales", "render_report", "mail_report"]
        assert [job.status for job in ran] == ["succeeded"] * 3
        assert report.Outside.letters == ["2030-01-31: 42 in all"]
    for effect in ("started", "finished"):
        jobs.clear()
        monkeypatch.setattr(report.Outside, "letters", [])
        await report.gather_sales.enqueue()
        with jobs.fail_at("letter", when=effect):
            await jobs.run_all()
        assert len(report.Outside.letters) == 1
        assert len(jobs.added_of(report.mail_report)) == 1


async def test_a_nightly_report_joins_its_shops_once_whatever_dies(
    client: Client, jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nightly.Outside, "shut", {"Rome"})
    async for _ in jobs.dying_at_each_await():
        monkeypatch.setattr(nightly.Outside, "letters", [])
        await nightly.nightly_report.enqueue(day=date(2030, 1, 31))
        ran = await jobs.run_all()
        assert Counter((job.type, job.status) for job in ran) == {
            ("nightly_report", "succeeded"): 1,
            ("read_shop", "succeeded"): 2,
            ("read_shop", "failed"): 1,
            ("render_page", "succeeded"): 1,
            ("mail_page", "succeeded"): 1,
        }
        assert nightly.Outside.letters == ["ada@example.com: 2030-01-31: 42 in 2 shops; the books of Rome are shut"]


async def test_prompts_keep_to_their_tenants_rates_and_nobody_waits_for_another(
    client: Client, jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm_batch.Provider, "asked", [])
    large = await llm_batch.put("large", [f"{number}" for number in range(25)])
    (small,) = await llm_batch.put("small", ["hello"])
    (urgent,) = await llm_batch.put("other", ["now"], urgent=True)
    assert len(await jobs.run_all()) == 12, "ten of the large tenant in a minute, and those of the two others"
    assert set(llm_batch.Provider.asked[:4]) == {"large", "small", "other"}
    assert llm_batch.Provider.most_seen <= llm_batch.Provider.MOST_AT_ONCE
    assert (await small.result(), await urgent.result()) == ("small: olleh", "other: won")
    for _ in range(2):
        jobs.move_time("1m")
        await jobs.run_all()
    assert [await each.status() for each in large] == ["succeeded"] * 25

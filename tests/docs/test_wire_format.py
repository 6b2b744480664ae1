"""docs/how/wire-format.md shows what is in Redis."""

from __future__ import annotations

import json
import re

from arq.connections import ArqRedis

from docs.site.code_blocks import ROOT
from errand.queue.queue import Queue
from tests.bench.jobs_here import noop
from tests.conftest import RunWorker
from tests.worker.test_worker import ended

PAGE = (ROOT / "docs" / "how" / "wire-format.md").read_text()


async def test_body_and_result_have_the_fields_that_the_page_names(redis: ArqRedis, run_worker: RunWorker) -> None:
    put = await Queue(redis, ended_ttl_s=60).enqueue("noop", {})
    body = json.loads(await redis.get(f"arq:job:{put.job_id}") or b"")
    shown = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    assert body.keys() == shown.keys() and body["f"] == "noop"
    async with run_worker([noop]):
        await ended(redis, put.job_id)
    result = json.loads(await redis.get(f"arq:result:{put.job_id}") or b"")
    section = PAGE.partition("## The result")[2].partition("\n## ")[0]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named <= result.keys() and result.keys() - named <= shown.keys() | {"id"}

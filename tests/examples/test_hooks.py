"""`examples/hooks.py`: jobs know their tenants, lines of the log their jobs, and an alarm goes off for a dead one."""

from __future__ import annotations

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from errand import Client
from errand.testing import JobsUnderTest
from examples import hooks

PACKAGES = "examples.hooks"


async def test_an_invoice_has_its_tenant_and_a_suspended_one_raises_an_alarm(
    client: Client, jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks.Outside, "alarms", [])
    await hooks.invoice.enqueue(tenant="acme", amount=7)
    await hooks.invoice.enqueue(tenant="ghost", amount=7)
    with capture_logs(processors=[merge_contextvars]) as lines:
        written, refused = await jobs.run_all()
    assert written.result == "acme asks for 7"
    assert (refused.status, hooks.Outside.alarms) == ("failed", ["invoice of ghost: ghost is suspended"])
    of_it = [line for line in lines if line.get("job_id") == written.id]
    assert [line["event"] for line in of_it] == ["writing an invoice", "ended"]
    assert (of_it[-1]["outcome"], of_it[-1]["attempt"]) == ("succeeded", 1)

"""What `/metrics` says, and that the alert rules and the dashboard speak of nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from errand.http.answers.prometheus import as_text
from errand.monitor.queues import QueueState

DEPLOY = Path(__file__).parent.parent.parent.parent / "deploy"
RULES, DASHBOARD = DEPLOY / "prometheus" / "alerts.yml", DEPLOY / "grafana" / "errand.json"
DOCS = DEPLOY.parent / "docs" / "monitoring.md"

PROMTOOL = shutil.which("promtool")


def text() -> str:
    queue = QueueState(
        name="default",
        paused=False,
        due=2,
        deferred=1,
        in_progress=1,
        dead=0,
        oldest_due_ms=1500,
        workers=1,
        slots=100,
        loop_lag_ms=2.0,
        counters={
            **{"attempts:succeeded": 3, "attempts:lost": 1, "stale": 1, "leases_lost": 1, "blocked_ms:report": 1250},
            'blocked_ms:a "b"\\\nc': 500,
            **{"wait_ms:1": 2, "wait_ms:20": 1, "wait_ms:sum": 14, "run_ms:inf": 1, "run_ms:sum": 400_000},
            **{
                "late_ms:5": 1,
                "late_ms:sum": 4,
                "letters:sent": 2,
                "letters:put_off": 1,
                "posts:2xx": 5,
                "posts:dns": 1,
            },
        },
        last_minutes={},
    )
    return as_text([queue], refused={"wrong": 1})


def test_histograms_and_counters_are_in_base_units() -> None:
    lines = text().splitlines()
    for line in (
        'errand_wait_seconds_bucket{queue="default",le="0.001"} 2',
        'errand_wait_seconds_bucket{queue="default",le="+Inf"} 3',
        'errand_wait_seconds_sum{queue="default"} 0.014',
        'errand_wait_seconds_count{queue="default"} 3',
        'errand_run_seconds_sum{queue="default"} 400.0',
        'errand_lateness_seconds_count{queue="default"} 1',
        'errand_lost_leases_total{queue="default"} 1',
        'errand_letters_total{queue="default",outcome="put_off"} 1',
        'errand_webhook_posts_total{queue="default",outcome="2xx"} 5',
        'errand_loop_blocked_seconds_total{queue="default",type="report"} 1.25',
        r'errand_loop_blocked_seconds_total{queue="default",type="a \"b\"\\\nc"} 0.5',
    ):
        assert line in lines


def test_rules_dashboard_and_documentation_name_metrics_that_there_are() -> None:
    kinds = dict(re.findall(r"# TYPE (errand_[a-z_]+) (\w+)", text()))
    parts = {
        f"{name}_{part}" for name, kind in kinds.items() if kind == "histogram" for part in ("bucket", "sum", "count")
    }
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = " ".join(target["expr"] for panel in panels for target in panel.get("targets", []))
    expressions = RULES.read_text() + queries + DOCS.read_text()
    assert set(re.findall(r"errand_[a-z_]+", expressions)) - kinds.keys() - parts == set()
    assert set(re.findall(r"`(errand_[a-z_]+)`", DOCS.read_text())) >= kinds.keys()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian's package prometheus) is not installed")
def test_promtool_finds_nothing_to_say() -> None:
    assert PROMTOOL is not None
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=text(), capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    for command in (("check", "rules", RULES.name), ("test", "rules", "alerts_test.yml")):
        checked = subprocess.run([PROMTOOL, *command], cwd=RULES.parent, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr

"""An environment for each peer, made on the spot under `.cache/bench`."""

from __future__ import annotations

import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.bench.candidate import percentile_ms
from tests.bench.runs import ROOT, Candidate, Figures

PEERS = {
    "SAQ": ("saq", ["saq[redis]", "typing_extensions"]),
    "taskiq": ("taskiq", ["taskiq", "taskiq-redis"]),
    "streaq": ("streaq", ["streaq"]),
    "dramatiq": ("dramatiq", ["dramatiq[redis]"]),
}


@dataclass(frozen=True)
class Peer(Candidate):
    """Leaves its latencies one by one: what a percentile is, is decided here for all."""

    def measure(self, name: str, *numbers: float, url: str | None = None) -> Figures:
        figures = super().measure(name, *numbers, url=url)
        if late_s := figures.pop("late_s", None):
            figures |= {"p50_ms": percentile_ms(late_s, 0.5), "p99_ms": percentile_ms(late_s, 0.99)}
        return figures


def candidate_of(name: str) -> Peer:
    """The peer, installed in its newest version where it is not yet."""
    label, packages = PEERS[name]
    python = python_of(label, [*packages, "uvloop", "hiredis"])
    found = subprocess.run(
        [python, "-c", f"from importlib.metadata import version; print(version({label!r}))"],
        capture_output=True,
        text=True,
        check=True,
    )
    script = Path(__file__).with_name(f"{label}_side.py")
    return Peer(f"{name} {found.stdout.strip()}", (python, str(script)))


def python_of(label: str, packages: list[str]) -> str:
    """The interpreter of an environment that has these packages; it is made if it is not there yet."""
    folder = ROOT / ".cache" / "bench" / label
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        print(f"installing {label} into {folder.relative_to(ROOT)}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True, stderr=subprocess.DEVNULL)
        ready.touch()
    return str(python)

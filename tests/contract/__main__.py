"""`make fuzz`: schemathesis, then raw sockets, against a live API and worker; without API keys and with one."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.contract.raw import __main__ as raw
from tests.contract.run import KEY, run
from tests.ports import free_port
from tests.processes.conftest import House


def main() -> int:
    """Prints what was found; the exit code is 0 where that is nothing."""
    options = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    options.add_argument("--seconds", type=int, default=300, help="in all (300)")
    options.add_argument("--seed", type=int, default=None, help="of an earlier run")
    given = options.parse_args()
    passed = [_attack(key, seconds=given.seconds // 2, seed=given.seed) for key in (None, KEY)]
    return 0 if all(passed) else 1


def _attack(key: str | None, *, seconds: int, seed: int | None) -> bool:
    # a pool's process that has lost its worker may still be writing
    with tempfile.TemporaryDirectory(prefix="errand-contract-", ignore_cleanup_errors=True) as folder:
        house = House(Path(folder, "house"), port=free_port(), sink_port=free_port())
        house.environment.update({"WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8", "LOG_LEVEL": "warning"})
        house.environment.update({"API_KEYS": key} if key else {})
        try:
            api = house.api()
            house.worker()
            print(f"--- {'with an API key' if key else 'without API keys'}, for {seconds} s", flush=True)
            chosen = ["--seed", str(seed)] if seed is not None else []
            found = run(house, "--max-time", str(seconds * 2 // 3), "--continue-on-failure", *chosen, key=key)
            print(found if found.passed else f"{found.output}\n{found}", flush=True)
            # whoever has no key attacks in the same way: the statuses alone differ
            stood = bool(key) or raw.run(house.port, api.pid, seconds=seconds // 3, seed=seed)
            for module in ("service", "jobs"):
                _show_faults(house.log(module))
        finally:
            house.close()
    return found.passed and stood


def _show_faults(log: Path) -> None:
    """Tracebacks are of faults: what a job or a client does wrong has none."""
    text = log.read_text()
    if "Traceback" in text:
        print(f"{log.name}:\n{text[:20_000]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

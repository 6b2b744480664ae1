"""`make check-deploy`: says of each file whether its tool accepts it, and what could not be checked here, and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.deploy import agreement
from tests.deploy.agreement import DEPLOY, KUBERNETES, ROOT, Fault

TOOLS = Path(os.environ.get("DEPLOY_TOOLS", ROOT / ".cache" / "check-deploy")) / "bin"
"""The environment with what is installed for this alone: requirements/deploy.lock."""

BUILT_IN = "/opt/errand/bin/errand"
"""The program of the units, which is not installed here."""


class NotHere(Exception):
    """Why something could not be checked on this machine."""


def containerfile() -> str:
    """hadolint reads it."""
    run([TOOLS / "hadolint", "--failure-threshold", "info", DEPLOY / "Containerfile"])
    return "hadolint"


def image() -> str:
    """It is built, and starts with a read-only root."""
    docker = tool("docker")
    if subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        raise NotHere("no container daemon answers: the image was not built")
    run([docker, "build", "--file", DEPLOY / "Containerfile", "--tag", "errand:check", ROOT])
    run([docker, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "errand:check", "version"])
    return "built, and ran with a read-only root"


def compose() -> str:
    """A parser of the Compose specification reads it, and Docker's own if it is here."""
    run([TOOLS / "python", Path(__file__).with_name("compose_side.py"), DEPLOY / "compose.yaml"])
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return "compose_spec; not by docker compose, which is not here"
    values = {**os.environ, "API_KEYS": "key-0123456789abcdef", "WEBHOOK_SECRET": "whsec_x"}
    run([docker, "compose", "--file", DEPLOY / "compose.yaml", "config", "--quiet"], env=values)
    return "compose_spec, docker compose config"


def units() -> str:
    """systemd reads them, with a program that is here in place of the one that they start."""
    analyze = tool("systemd-analyze")
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for unit in sorted((DEPLOY / "systemd").glob("*.service")):
            copy = Path(folder, unit.name)
            copy.write_text(unit.read_text().replace(BUILT_IN, "/bin/true"))
            copies.append(copy)
        said = run([analyze, "verify", "--man=no", *copies])
        if faults := [line for line in said.splitlines() if ".service:" in line and folder in line]:
            raise Fault("\n".join(faults))
    return f"systemd-analyze verify; {BUILT_IN} is taken to be there"


def kubernetes() -> str:
    """Kubernetes' own schemas, strictly: a field that they do not know is a fault."""
    files = [file for file in KUBERNETES if file.name != "keda.yaml"]
    said = run([TOOLS / "kubernetes-validate", "--strict", *files])
    return f"kubernetes-validate --strict: {said.count('INFO')} objects; not applied to a cluster"


def keda() -> str:
    """KEDA's own models of its objects."""
    run([TOOLS / "python", Path(__file__).with_name("keda_side.py"), DEPLOY / "kubernetes" / "keda.yaml"])
    return "KEDA's models; no cluster has scaled by it"


CHECKS: Sequence[Callable[[], str]] = (
    containerfile,
    image,
    compose,
    units,
    kubernetes,
    keda,
    agreement.settings_are_known,
    agreement.drains_fit,
    agreement.probes_and_metrics_are_there,
)


def tool(name: str) -> str:
    """Its path. Raises NotHere."""
    path = shutil.which(name)
    if path is None:
        raise NotHere(f"{name} is not installed")
    return path


def run(command: Sequence[str | Path], **options: object) -> str:
    """What the command prints. Raises Fault with it if it fails."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    said = str(ended.stdout + ended.stderr)
    if ended.returncode:
        raise Fault(said.strip() or f"exit code {ended.returncode}")
    return said


def main() -> int:
    faults = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            print(f"ok           {name}: {check()}")
        except NotHere as reason:
            print(f"not checked  {name}: {reason}")
        except Fault as fault:
            faults += 1
            print(f"FAULT        {name}:\n{fault}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())

"""Holds the files of `deploy/` against the program: settings that exist, drains that fit, paths that are answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from errand.http.api import create_api
from settings import Settings

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = [file for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")) if file.name != "kustomization.yaml"]

CLOSING_S = 10
"""What a worker may take to write its last outcomes, after its drain."""

OF_OTHERS = {"ENV_FILE", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


class Fault(Exception):
    """What is wrong with a file."""


def settings_are_known() -> str:
    """Every variable that a file sets is a setting of Errand's."""
    named = set(_environment())
    known = {name.upper() for name in Settings.model_fields} | OF_OTHERS
    if unknown := named - known:
        raise Fault(f"no settings of Errand's: {', '.join(sorted(unknown))}")
    return f"{len(named)} names"


def drains_fit() -> str:
    """A worker has the time to drain and to write its outcomes before it is killed."""
    needed_s = Settings().drain_s + CLOSING_S
    compose = _load(DEPLOY / "compose.yaml")[0]
    unit = (DEPLOY / "systemd" / "errand-worker.service").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    given_s = {
        "compose.yaml": int(compose["services"]["worker"]["stop_grace_period"].removesuffix("s")),
        "errand-worker.service": int(stop[1]) if stop else 0,
        "worker.yaml": _deployment("worker")["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30),
    }
    if short := {name: time_s for name, time_s in given_s.items() if time_s < needed_s}:
        raise Fault(f"a worker needs {needed_s:g} s to stop: {short}")
    return f"each stop of a worker may take {needed_s:g} s"


def probes_and_metrics_are_there() -> str:
    """The API answers the paths of probes, without a key, and of the autoscaler, with the field that it reads."""
    schema = create_api(Settings(), redis_url="redis://127.0.0.1:1").openapi()
    container = _deployment("api")["spec"]["template"]["spec"]["containers"][0]
    probed = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness", "startup")}
    if missing := probed - {"/healthz"} or "/healthz" not in schema["paths"]:
        raise Fault(f"no such path for a probe: {missing}")
    (trigger,) = (
        one["spec"]["triggers"][0]
        for one in _load(DEPLOY / "kubernetes" / "keda.yaml")
        if one["kind"] == "ScaledObject"
    )
    metadata = trigger["metadata"]
    if (
        not metadata["url"].endswith("/v1/stats")
        or metadata["valueLocation"] not in schema["components"]["schemas"]["Stats"]["properties"]
    ):
        raise Fault(f"GET /v1/stats has no {metadata['valueLocation']}, or {metadata['url']} is another")
    return f"{', '.join(sorted(probed))}, {metadata['valueLocation']} of GET /v1/stats"


def _environment() -> Iterator[str]:
    for service in _load(DEPLOY / "compose.yaml")[0]["services"].values():
        if service.get("image") == "errand":
            yield from service.get("environment", {})
    for file in KUBERNETES:
        for one in _load(file):
            if one["kind"] == "ConfigMap" or (one["kind"] == "Secret" and one["metadata"]["name"] == "errand"):
                yield from one.get("data") or one["stringData"]
            if one["kind"] == "Deployment":
                for container in one["spec"]["template"]["spec"]["containers"]:
                    yield from (variable["name"] for variable in container.get("env", ()))
    for unit in (DEPLOY / "systemd").glob("*.service"):
        for line in re.findall(r"^Environment=(.*)$", unit.read_text(), re.MULTILINE):
            yield from (pair.partition("=")[0] for pair in line.split())
    for line in re.findall(r"^ENV (.*)$", (DEPLOY / "Containerfile").read_text().split("\nFROM")[-1], re.MULTILINE):
        yield from (pair.partition("=")[0] for pair in line.split())


def _deployment(component: str) -> dict[str, Any]:
    (found,) = (one for one in _load(DEPLOY / "kubernetes" / f"{component}.yaml") if one["kind"] == "Deployment")
    return found


def _load(file: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(file.read_text()) if one]

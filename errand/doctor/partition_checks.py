"""What the checks of several partitions say together: each finding once, with the partitions that it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from errand.doctor.server_checks import Finding


def together(of_partitions: Sequence[Sequence[Finding]]) -> list[Finding]:
    """The findings of all partitions, in the order of the checks; one that all share is said once, of none of them."""
    numbers: dict[Finding, list[int]] = {}
    for number, findings in enumerate(of_partitions):
        for finding in findings:
            numbers.setdefault(finding, []).append(number)
    checks = list(dict.fromkeys(finding.check for finding in numbers))
    every = len(of_partitions)
    said = [
        finding if len(of) == every else replace(finding, found=f"{_named(of)}: {finding.found}")
        for finding, of in numbers.items()
    ]
    return sorted(said, key=lambda finding: checks.index(finding.check))


def check_left(served: int, *, asked: int) -> list[Finding]:
    """Partitions that a larger QUEUE_PARTITIONS has left."""
    if served <= asked:
        return []
    left = _named(range(asked, served))
    found = f"{left}: no new jobs, since QUEUE_PARTITIONS is {asked}; workers go on with those that are there"
    return [Finding(check="partitions", level="note", found=found)]


def check_coverage(*, refuses_all: bool) -> list[Finding]:
    """Whether partitions of other masters go on through a failover."""
    if not refuses_all:
        return []
    return [
        Finding(
            check="partitions",
            level="warning",
            found="the cluster refuses the calls of all partitions while one of its masters has failed",
            risk="until another node has taken over, the jobs of all partitions wait; nothing is lost by that",
            fix="cluster-require-full-coverage no, in each node's configuration",
        )
    ]


def _named(numbers: Sequence[int]) -> str:
    return f"partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"

"""The page of all kinds of problems."""

from __future__ import annotations

from errand.http.answers.problem_kinds import KINDS

HEAD = """# Problems

Every error is answered as problem details (RFC 9457). `type` names the kind of problem and never changes; the service
itself answers at that address with what stands here.
"""


def page() -> str:
    """Each kind under a heading of its own, in the order of the alphabet."""
    parts = [
        f"## {name}\n\nStatus {kind.status}. {kind.meaning} {kind.advice}\n" for name, kind in sorted(KINDS.items())
    ]
    return "\n".join([HEAD, *parts])

"""How much of what a load sends."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.flows.jobs import BEFORE

BESIDE = 21.0
"""Jobs a second that are sent one by one, whatever the rate."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How many of what in a second; `batched` no-ops come in batches, four of them a second."""

    batched: float
    single: float
    cancelled: float
    webhooks: float
    letters: float
    images: float
    far_off: float = 0.2
    roots: float = 0
    """Each has steps follow (`flows/jobs.py`)."""
    keyed: float = 0
    """Jobs of which so many of a customer, and so many of all, run at once."""
    paced: float = 0
    """Jobs of which so many of a customer start within a time."""
    gathered: float = 0
    """Jobs that run in batches."""
    repeated: float = 0
    """Jobs that are debounced or throttled."""
    plain_share: float = 0.75
    """Of the batched no-ops: how many do nothing but note that they ran; the others take time, or fail."""

    @classmethod
    def of_chaos(cls, rate: float) -> Mix:
        """`rate` jobs a second in all, of all kinds; more than half of them are steps of chains and groups."""
        rest = rate - BESIDE
        return cls(
            batched=0.25 * rest,
            single=8,
            cancelled=1,
            webhooks=4,
            letters=3,
            images=0.8,
            repeated=4,
            roots=0.55 * rest / (1 + len(BEFORE)),
            keyed=0.12 * rest,
            paced=0.018 * rest,
            gathered=0.06 * rest,
        )

    @classmethod
    def of_soak(cls, rate: float) -> Mix:
        """Mainly no-ops."""
        return cls(
            batched=rate - 24, single=20, cancelled=1, webhooks=1, letters=1, images=0.2, far_off=0, plain_share=0.95
        )

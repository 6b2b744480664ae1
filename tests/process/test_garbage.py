"""What the garbage collector of a long-lived process leaves alone."""

from __future__ import annotations

import gc

from errand.process.garbage import COLLECT_AFTER, collect_less


def test_the_garbage_collector_leaves_alone_what_is_here_to_stay() -> None:
    """A look through all objects of an API with many watchers held up every request for a third of a second."""
    before = gc.get_threshold()
    try:
        collect_less()
        assert gc.get_freeze_count() > 10_000 and gc.get_threshold() == COLLECT_AFTER
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)

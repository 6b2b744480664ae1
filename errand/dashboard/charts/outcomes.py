"""Which class of the style sheet an outcome of an attempt has: the same in every chart."""

from __future__ import annotations

KINDS = {
    "succeeded": "ok",
    "retry": "retry",
    "failed": "bad",
    "cancelled": "off",
    "handed_back": "off",
    "lost": "bad",
    "crashed": "bad",
}
"""In the order in which the parts of a bar are drawn."""

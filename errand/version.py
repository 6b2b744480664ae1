"""Which Errand this is: workers say it, so that a half-done upgrade can be seen."""

from __future__ import annotations

VERSION = "0.1.0"
"""That of pyproject.toml. Here because the house runs from its folder as well, where nothing is installed."""

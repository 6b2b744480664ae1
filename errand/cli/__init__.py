"""The command `errand`."""

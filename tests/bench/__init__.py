"""Measures Errand against others, in the same run on the same machine. `make bench`, `make bench-peers`."""

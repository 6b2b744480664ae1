"""Jobs that failed for good: listed, grouped by fault, replayed."""

"""The documentation: its site builds without a warning, and its reference has everything."""

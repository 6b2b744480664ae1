"""Breaks everything that can break, under load, and then accounts for every job that was accepted."""

"""Moves of jobs between servers, and from stock Arq."""

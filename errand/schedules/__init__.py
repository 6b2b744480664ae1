"""Recurring jobs: kept in Redis, and fired by one worker at a time."""

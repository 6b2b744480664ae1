"""Puts jobs from anywhere and waits for them: scripts, other apps, other jobs, programs without an event loop.

`Client` is for asyncio, `SyncClient` for the rest. Both put jobs by their type, or by name, checked by the schema that
workers publish (`published_types.py`). Nothing here knows HTTP.
"""

"""Finds what may cost jobs: in the Redis server and its settings, in the queues, in storage and mail.

A check reads and returns a `Finding`; it changes nothing but for a few bytes that it writes to the storage and deletes.
Public: `examine`, `examine_server` and `looking` (`examine.py`), the checks of `outside_redis.py`.
"""

"""The Redis server and the connections to it: Sentinel, rights, outages, durability, the embedded server, scripts.

Nothing here puts, runs or ends a job. `parts/` holds the Lua that scripts of several rooms share, `cluster/` leads to a
cluster. Public: `connect` and `check_welcome` (`connection.py`), `Outage` and `is_outage`, `Durability`,
`Subscription`, `script.load`, `embedded.joined`. `redis_py.py` alone relies on what redis-py does not promise.
"""

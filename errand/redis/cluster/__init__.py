"""Redis Cluster: which master has an installation's keys, connections to it, and the names that keys have there.

All keys of one installation carry one hash tag, so they lie in one slot, on one master: scripts, transactions and
blocking calls work as on a single server. Therefore one node is spoken with at a time, by the pools that lead to a
Sentinel's master as well. redis-py's cluster client is not used: its asyncio form has no transactions, no pub/sub and
no way to send WAIT behind a script, and it keeps to one connection of a node after another.

`tag.py` names keys, `nodes.py` asks which node has the slot, `pool.py` connects to it. Public: `ClusterPool`.
"""

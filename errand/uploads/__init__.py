"""Uploads beside a job's own request: large files in as many parts as the client's network makes of them.

The state of one that is coming in is in Redis, its parts are in the storage; what is whole is a file as any other
upload. HTTP is no business of this room. `doubtful.py` has files whose jobs may have been put or not.
"""

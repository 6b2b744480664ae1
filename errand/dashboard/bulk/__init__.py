"""The same action on many jobs, at a pace, with its progress shown and a way to stop.

`kept.py` keeps what a run is to do and how far it is; `run.py` does it. Public: the functions of
both, and `kept.BulkRun`.
"""

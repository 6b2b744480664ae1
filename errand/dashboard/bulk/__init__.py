"""The same action on many jobs, at a pace, with its progress shown and a way to stop.

Public: `run.act`, `run.read_run`, `run.stop`.
"""

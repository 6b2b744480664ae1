"""Looks now and then for what another process has left undone: the end of a job that was not reported to those that
wait for it, hooks of a dead job that were not called.

A queue without any of this is not looked at: the heartbeat says whether there is something.
"""

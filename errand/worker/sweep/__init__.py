"""Looks now and then for what another process has left undone: the end of a job that was not reported to those that
wait for it, hooks of a dead job that were not called.

One look of a worker at a queue without any of this costs a command or two.
"""

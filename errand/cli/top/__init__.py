"""`errand top`: queues, workers and jobs in a terminal, or one job, live; for those who have only ssh.

`program.py` looks and draws until it is ended; `view.py` says what each key leads to, `keyboard.py` reads the keys,
`drawing.py` makes pictures of what was read. It reads Redis itself, as doctor does: it needs the settings of the
installation, and no API. Public: `show`.
"""

from errand.cli.top.program import show

__all__ = ["show"]

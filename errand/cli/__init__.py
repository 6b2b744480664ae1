"""The command `errand`: its commands and options, and the one line that an error takes.

`main.py` has the commands, `program.py` what every program of an installation shares (`python -m service` too),
`doctor.py`, `health.py`, `key.py`, `listen.py`,
`move.py` and `top.py` what some of the commands do. What a command starts lives elsewhere: the API in
`errand.server`, the worker in `errand.process`.
"""

"""Limits on the jobs of a type: how many run at once, how many start in a time, counted together or for each key.

`limit.py` has the two kinds, `key_template.py` the keys, `control.py` what `@job` takes, `wire.py` what claims get.
They keep them (`leases/parts/serving.lua`), and a job that a limit holds back takes no slot and no try.
"""

from errand.job.limits.limit import Concurrency, Limit, Rate

__all__ = ["Concurrency", "Limit", "Rate"]

"""How far one Redis goes, and what an installation needs: a simulation, tried on a case that can be measured.

`costs.py` has what one job costs, as measured; `simulation.py` runs an installation through a time; `plan.py` asks it
for the large ones. `section.py` measures the small one, on `python -m tests.bench --only scale`.
`python -m tests.bench.scale` prints the tables of docs/scale.md; with `--write` they go there.
"""

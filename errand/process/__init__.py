"""A worker as a process, and what it shares with the API's: how a process starts, logs and ends.

`worker.py` runs a worker (`run(settings)`), `endless.py` its loop; `supervisor.py` several processes under one parent;
`start.py` has the first steps of a process and the one line with which it ends if it cannot start; `logs.py` the form
of its log; `lifeline.py` its end with its parent; `forks.py` what a job's own child processes do not inherit,
`orphans.py` what becomes of those that others have left. How jobs are run is in `errand.worker`, and nothing of FastAPI
is imported here.
"""

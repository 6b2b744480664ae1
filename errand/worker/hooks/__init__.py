"""Calls the hooks of an installation: `around.py` those of attempts, `dead.py` those of dead jobs.

`errand.job.hooks` has how they are declared. A worker without any pays a look into an empty mapping for each attempt.
"""

"""`await welcome_email.enqueue(to=…, name=…)`: what a job type offers to those who put its jobs.

`enqueuing.py` has the calls, `options.py` what they take besides args, `checked_args.py` the check of args, `handle.py`
what they return. How a job reaches Redis is not known here: a `Producer` does it (`errand.client` opens one).
"""

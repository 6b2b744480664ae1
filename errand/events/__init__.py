"""Changes of jobs, pushed to those who wait for an end or watch.

A push is a hint: whoever needs certainty reads again.
"""

"""Changes of jobs, pushed to those who wait for an end or watch.

A push is a hint: a client that needs certainty reads again.
"""

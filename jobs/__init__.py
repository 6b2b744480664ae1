"""The job types of this installation: one file each. Put your own beside them.

In the wheel the same files are `errand.jobs`.
"""

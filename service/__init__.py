"""The API of this installation as a process: `python -m service`.

Here are entry points alone: they read the settings of this installation and start what `errand.server` has.
"""

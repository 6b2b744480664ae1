"""What keeps open pages up to date: one pulse for each API process, whatever the number of pages.

Public: `pulse.Pulse`.
"""

"""Delivering events: signatures as Standard Webhooks 1.0 says, a guarded client, the sink of a developer's machine.

Knows no job type.
"""

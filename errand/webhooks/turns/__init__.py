"""Turns: which deliveries may be made now, so that no receiver takes the slots, or the time, of another.

Receivers have limits, and a share of the slots; a breaker keeps deliveries from an endpoint that fails; what has no
turn waits in Redis (`waiting.py`). What Redis knows of endpoints (rates, lines, pauses) is not here.
"""

"""The protocol below the API, attacked by raw sockets: what no HTTP client would send.

`messages.py` makes them from a seed, `attack.py` sends them and judges the answers, `endless.py` has five clients that
never stop and measures what they cost.
"""

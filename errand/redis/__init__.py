"""The server and the way to it: connections, Sentinel, outages, durability, the embedded server, Lua scripts.

`parts/` holds the Lua that scripts of several rooms share. Nothing here knows what a job is.
"""

"""The HTTP API, an ASGI app that can be mounted: `api.create_api`.

What only a process on a port needs (limits of the protocol, the fast path) is in `service/`.
"""

"""The HTTP API: `api.create_api` makes an ASGI app, to serve or to mount in another app.

A request passes `gates`, is read by `requests`, done by `routes`, and shown by `answers`; `document` describes it all.
What only a process on a port needs (limits of the protocol, the fast path) is in `errand.server`.
"""

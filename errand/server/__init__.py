"""The API as a server on a port of its own. None of it is needed if `errand.http` is mounted in your own app.

`process.py` starts the server (`run(settings)`), `app.py` has the ASGI app that it serves (`create_app`), with
`fast_path.py` in front of it. `http_protocol.py` puts limits on slow and oversized requests. `run.py` starts the API
and a worker as two processes side by side. What the API answers is in `errand.http`, and nothing of a worker's process
is imported here.
"""

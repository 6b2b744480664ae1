"""Errand in your own FastAPI app: `Jobs` for its routes, `jobs_lifespan` for the app.

`add_task.py` puts the jobs of a route, `lifespan.py` opens what that needs, and what a mounted API needs. Nothing here
knows the HTTP API: an app can add jobs without it.
"""

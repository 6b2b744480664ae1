"""Errand in a FastAPI app of one's own: `Jobs` for routes, `jobs_lifespan` for the app."""

"""The HTTP side. It knows how jobs are described and queued; never a worker, never what a job does."""

"""A Redis Cluster as what keeps the jobs: what goes wrong with its nodes and slots, and how long that delays jobs."""

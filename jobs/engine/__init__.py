"""How jobs are described, queued, leased and run. Knows no job type and no HTTP."""

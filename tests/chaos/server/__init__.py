"""One Redis as what keeps the jobs, the links through which workers see it, and what goes wrong with both."""

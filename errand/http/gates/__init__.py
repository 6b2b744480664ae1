"""What every request passes: credentials, limits of size and rate, headers of the answer."""

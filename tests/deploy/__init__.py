"""What `make check-deploy` does: each file of `deploy/` is read by its own tool, and held against the program."""

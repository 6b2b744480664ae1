"""A bookshop with three jobs, and its tests: ten lines of set-up in `conftest.py`."""

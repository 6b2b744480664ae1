"""The examples do what they show: each is run, some by their own tests."""

"""What stands in Redis: the names of keys, the records kept there and their JSON.

Everything that two versions of Errand, or Errand and stock Arq, must agree on is here. Nothing here calls Redis.
"""

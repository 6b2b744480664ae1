"""Takes an installation's jobs to another Redis, and those of a stock Arq queue to Errand: nothing lost, or run twice.

`to_redis.py` moves everything that Errand and Arq keep; `values.py` copies and compares a key of each type. What both
servers say meanwhile, so that no API or worker starts on one of them, is `errand.wire.move_record`. `from_arq.py` moves
jobs out of a queue of stock Arq, `arq_body.py` reads them. Nothing here knows a particular job type.
"""

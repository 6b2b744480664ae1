"""What Redis keeps: the names of keys, the records kept there and their JSON.

Everything that two versions of Errand, or Errand and stock Arq, must agree on is here. Nothing here calls Redis.
Public: `keys`, `codec`, `records`, `limits`, `indexes`, `counters`, `fingerprint`, `job_id`, `worker_report`.
"""

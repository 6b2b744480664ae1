"""Says what may cost jobs: the server, its settings, queues without workers, storage and mail.

Nothing here changes anything.
"""

"""What a worker opens once for its jobs: storage, process pool, outbound HTTP. `openers` has what `@job(uses=…)` takes.

Heavy libraries are imported when a resource is opened, so that naming one costs the API nothing. Nothing is
imported here: an opener named like its module would be hidden by it.
"""

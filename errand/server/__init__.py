"""The API as a server on a port: limits of the HTTP protocol, the fast path, the process, API and worker together.

Nothing here is needed where `errand.http` is mounted in an app of one's own.
"""

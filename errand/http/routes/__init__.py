"""The endpoints of the API, one file for each resource: jobs, lists, batches, events, dead jobs, schedules, and so on.

A route says what it takes and answers, for the OpenAPI document too, and calls the room that does the work. What is
read of a request lives in `http.requests`, what is shown in `http.answers`; no route reaches into Redis itself.

Public: the `router` of each file, which `http.api` mounts.
"""

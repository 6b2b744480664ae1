"""Changes of jobs, pushed to clients that wait for a job's end or watch jobs live.

One process receives the changes of its queues over one subscription (`listener`) and hands each to every client that
watches (`feed`, which is made of `history`, `ring`, `followers` and `fan_out`). A push is a hint: a client that needs
certainty reads the job again. Nothing here changes a job, and nothing here knows HTTP.

Public: `listener.JobEvents`, `feed.JobFeed`, `watcher.EventFilter`, `change.Change`, and the positions in `cursor`.
"""

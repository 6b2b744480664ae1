"""Changes of jobs, pushed to clients that wait for a job's end or watch jobs live.

One process receives the changes of its queues over one subscription (`listener`) and hands each to every client that
watches (`feed`, which is made of `history`, `ring`, `follower` and `fan_out`). A push is a hint: nothing here changes a
job, nothing here knows HTTP, and a client that needs certainty reads the job again.

Public: `listener.JobEvents`, `feed.JobFeed`, `watcher.EventFilter`, `change.Change`, and the positions in `cursor`.
"""

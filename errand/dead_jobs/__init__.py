"""Jobs that failed for good: listed newest first, grouped by type and fault, and put again, at a pace if wished.

A job enters the indexes of the dead when a worker ends it (`errand/redis/parts/dead_index.lua`); this room reads them,
removes what has expired, and replays. It runs no job, and knows no HTTP.

Public: `dead_jobs.DeadJobs`, `.DeadJobFilter`, `.DeadPosition`; `replay.Replays`, `.ReplayCutShort`.
"""

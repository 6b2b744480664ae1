"""Runs one claimed job: reads its body, chooses its runner, makes an attempt, decides what becomes of the job.

`Runner` is the protocol of the three that there are: `JobRunner` for job types, `ArqRunner` for plain Arq functions,
`UnknownTypeRunner` for the jobs that are another worker's. They know nothing of claims, slots and the
loop: `Executor` in `errand.worker` calls them for each job.
"""

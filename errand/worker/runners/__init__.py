"""Runs one claimed job: reads its body, chooses its runner, makes an attempt, decides what becomes of the job.

There are two runners: `JobRunner` for job types, `ArqRunner` for plain Arq functions. They decide and return; claiming,
leases and the loop are no matter of theirs.
"""

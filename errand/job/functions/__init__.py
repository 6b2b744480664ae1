"""The functions that may be jobs, and how each kind is called: all of them become `async (ctx, args)`.

`shape.py` reads a function's signature; `depends.py` has the marker of a dependency, and what takes its place in tests;
`solving.py` calls a function with its dependencies, `threads.py` a `def` in a thread, `processes.py` one in the process
pool, `batches.py` one function for many jobs. An `async def` without dependencies is called as it is.
"""

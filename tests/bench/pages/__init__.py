"""What the pages of the dashboard cost: each beside few and very many jobs, many that are open at once, first paint.

`section.py` has the lines of the report, `measures.py` starts what is measured, `filling_side.py` puts the jobs into
Redis, `asking_side.py` asks for each page, `open_side.py` holds pages open as a browser does, `paint_side.py` looks at
them in Chromium; `serving_side.py` is the service.
"""

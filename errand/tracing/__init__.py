"""Traces of requests and jobs, by OpenTelemetry (`errand[otel]`): who puts a job, its attempts, what they do.

`current.py` is what the other rooms call; it imports nothing of OpenTelemetry, and does nothing while nobody has
switched traces on. `spans.py` has the spans, `unsampled.py` what stands for those that nobody will see, `unmade.py` for
those that only a collector will; `lazily.py` has OpenTelemetry's find both. `switch.py` switches them on, for a process
of Errand's own by the standard variables (`OTEL_…`), or for a program that has configured OpenTelemetry itself.
"""

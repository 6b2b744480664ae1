"""What the API answers: views of jobs and schedules, problems (RFC 9457), event streams, Prometheus text.

Nothing here reads a request's body or asks Redis; routes hand in what is to be shown: `job_view`, `schedule_view`,
`Problem`, `EventStream`, `prometheus.as_text`.
"""

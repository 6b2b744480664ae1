"""Recurring jobs: schedules as Redis keeps them (`Schedules`), and what makes jobs of them (`Ticker`).

What a schedule is (its cron expression, its next time) is in `errand.job.schedule`; its HTTP routes are elsewhere.
"""

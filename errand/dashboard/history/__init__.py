"""The last hour and the last day in minutes, as the workers have counted them.

Public: `day.read_history`, `quantiles.quantile_ms`.
"""

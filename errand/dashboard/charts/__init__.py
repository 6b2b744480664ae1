"""Draws charts as SVG: geometry in, elements out. Colours are classes of the style sheet; no script draws anything.

Public: `overview.charts_of`, `past.attempts`, `past.times`, `retries.drawn`, `attempts.drawn`, `spark.drawn`.
"""

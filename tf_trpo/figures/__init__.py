"""Figures of training runs: histories, statistics over seeds, learning curves and the panels of a report.

`histories` and `statistics` need NumPy and SciPy. The other modules draw, and are the package's only door to
matplotlib (extra `figures`).
"""

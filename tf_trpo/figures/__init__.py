"""Figures of training runs: names of charts, histories, statistics over seeds, learning curves, a report's charts.

`run_curves` and `style` draw, and are the package's only door to matplotlib (extra `figures`).
"""

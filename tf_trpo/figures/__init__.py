"""Figures of training runs: what is shown, histories, statistics over seeds, learning curves, a report's charts.

`run_curves` and `style` draw, and are the package's only door to matplotlib (extra `figures`).
"""

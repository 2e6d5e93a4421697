"""Figures of training runs: charts and their columns, histories, statistics over seeds, learning curves.

Only `run_curves`, `style` and `trials` import matplotlib (extra `figures`).
"""

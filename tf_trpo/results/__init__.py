"""Results of many runs: the tables that they are kept in, and the statistics that summarise seeds."""

from tf_trpo.results.histories import Column, Curve, known, on_common_steps, read_history
from tf_trpo.results.statistics import Interval, interquartile_mean, mean
from tf_trpo.results.tables import CurvePoint, RunResult, learning_curve, read_table, update_table, write_table

__all__ = [
    "Column",
    "Curve",
    "CurvePoint",
    "Interval",
    "RunResult",
    "interquartile_mean",
    "known",
    "learning_curve",
    "mean",
    "on_common_steps",
    "read_history",
    "read_table",
    "update_table",
    "write_table",
]

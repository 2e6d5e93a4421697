"""Results of many runs: the tables that they are kept in, and the statistics that summarise seeds."""

from tf_trpo.results.statistics import Interval, interquartile_mean
from tf_trpo.results.tables import CurvePoint, RunResult, learning_curve, read_table, update_table, write_table

__all__ = [
    "CurvePoint",
    "Interval",
    "RunResult",
    "interquartile_mean",
    "learning_curve",
    "read_table",
    "update_table",
    "write_table",
]

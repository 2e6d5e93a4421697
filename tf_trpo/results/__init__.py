"""Results of many runs: the tables that they are kept in, and the statistics that summarise seeds."""

from tf_trpo.results.curves import curve_of_episodes, on_windows
from tf_trpo.results.histories import Column, Curve, known, on_common_steps, read_history
from tf_trpo.results.statistics import Interval, interquartile_mean, mean
from tf_trpo.results.tables import (
    CurvePoint,
    PublishedResult,
    RunResult,
    Target,
    by_settings,
    learning_curve,
    read_table,
    update_table,
    write_table,
)

__all__ = [
    "Column",
    "Curve",
    "CurvePoint",
    "Interval",
    "PublishedResult",
    "RunResult",
    "Target",
    "by_settings",
    "curve_of_episodes",
    "interquartile_mean",
    "known",
    "learning_curve",
    "mean",
    "on_common_steps",
    "on_windows",
    "read_history",
    "read_table",
    "update_table",
    "write_table",
]

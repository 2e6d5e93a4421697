"""TensorBoard contents that are written once per run: layout of the charts, hyperparameters, settings."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar_summary
from tensorboard.plugins.hparams import api_pb2, summary, summary_v2

from tf_trpo.figures.charts import CHARTS

Settings = Mapping[str, object]
"""Names and values: numbers, bools, strings, None, or sequences of them."""

METRICS: Mapping[str, str] = {
    "final/mean_reward": "return of the trained agent",
    "eval/mean_reward": "return of the last evaluation",
    "rollout/ep_rew_mean": "return of training's last episodes",
    "train/kl_divergence_loss": "mean KL of the last step",
    "train/explained_variance": "explained variance",
}
"""Logged figures by which the HParams dashboard compares runs -> their titles."""


def layout_summary() -> summary_pb2.Summary:
    """Return the layout of the custom-scalars dashboard: `CHARTS`, with the first category open."""
    layout = layout_pb2.Layout()
    for title, charts in CHARTS.items():
        category = layout.category.add(title=title, closed=bool(layout.category))
        for name, tags in charts.items():
            # Tags are regular expressions.
            category.chart.add(title=name).multiline.tag.extend(f"^{re.escape(tag)}$" for tag in tags)
    return _tensorboards(custom_scalar_summary.pb(layout))


def hyperparameter_summaries(hyperparameters: Settings) -> list[summary_pb2.Summary]:
    """Return the summaries of the HParams dashboard: the columns, then the run's values.

    TensorBoard takes the columns from one of the runs, so every run lists all columns, even those without a value.

    Args:
      hyperparameters: names and values; the dashboard shows the first five initially. Values that are None are left
        out; a value that is neither bool, number nor string becomes a string.
    """
    values = {name: _plain(value) for name, value in hyperparameters.items() if value is not None}
    columns = [
        # TensorBoard puts columns that are marked as differing first, and initially shows five.
        api_pb2.HParamInfo(name=name, type=_type(values.get(name)), differs=position < 5)
        for position, name in enumerate(hyperparameters)
    ]
    metrics = [summary_v2.Metric(tag, display_name=label).as_proto() for tag, label in METRICS.items()]
    return [_tensorboards(summary.experiment_pb(columns, metrics)), summary_v2.hparams_pb(values)]


def tables(config: Mapping[str, Settings]) -> str:
    """Return an HTML table of names and values for each heading; Markdown would interpret characters of the values."""
    parts = []
    for heading, values in config.items():
        rows = "".join(f"<tr><td>{_cell(name)}</td><td>{_cell(value)}</td></tr>" for name, value in values.items())
        parts.append(f"<h3>{_cell(heading)}</h3><table><tr><th>name</th><th>value</th></tr>{rows}</table>")
    return "\n\n".join(parts)


def _tensorboards(made: Any) -> summary_pb2.Summary:
    """Convert a TensorFlow Summary, which some functions of TensorBoard return, to TensorBoard's own class."""
    return summary_pb2.Summary.FromString(made.SerializeToString())


def _plain(value: object) -> bool | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _type(value: bool | float | str | None) -> int:
    if isinstance(value, bool):
        return api_pb2.DATA_TYPE_BOOL
    if isinstance(value, int | float):
        return api_pb2.DATA_TYPE_FLOAT64
    return api_pb2.DATA_TYPE_UNSET if value is None else api_pb2.DATA_TYPE_STRING


def _cell(value: object) -> str:
    return html.escape(" ".join(str(value).split()))

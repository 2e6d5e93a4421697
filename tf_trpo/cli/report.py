"""A report of one run as one HTML file: settings, result, figures, and a short table of the training."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from tf_trpo.experiment import RunFolder
from tf_trpo.figures.histories import Column, read_history
from tf_trpo.figures.run_panels import STEPS, draw_panels

TABLE = {
    STEPS: "steps",
    "rollout/ep_rew_mean": "return",
    "rollout/ep_len_mean": "episode length",
    "train/kl_divergence_loss": "KL",
    "train/backtracks": "backtracks",
    "train/improvement_ratio": "actual / predicted",
    "train/explained_variance": "explained variance",
    "time/fps": "steps/s",
}
"""Columns of the table."""
ROWS = 12


def report(run: RunFolder) -> str:
    """Write the report as HTML; all that comes from files is escaped.

    Raises:
      ValueError: the folder holds no run, or its files are not whole.
    """
    config = run.read_config()
    history = read_history(run.history, [STEPS])
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((resources.files("tf_trpo.cli") / "report.html").read_text(encoding="utf-8"))
    return template.render(
        name=run.path.name or str(run.path.resolve()),
        settings=config["settings"],
        versions={**_mapping(config.get("versions")), "platform": config.get("platform")},
        results=_results(run, history),
        figures={title: base64.b64encode(svg).decode() for title, svg in draw_panels(history).items()},
        header=[title for column, title in TABLE.items() if column in history],
        rows=_rows(history),
    )


def _results(run: RunFolder, history: Mapping[str, Column]) -> dict[str, str]:
    def column(name: str) -> Column:
        return history.get(name, np.full_like(history[STEPS], np.nan))

    kl = column("train/kl_divergence_loss")
    return {
        "return after training": _evaluation(run),
        "environment steps": f"{history[STEPS][-1]:.0f}",
        "iterations": f"{len(history[STEPS])}",
        "steps refused": f"{np.count_nonzero(column('train/is_line_search_success') == 0)}",
        "return of training's last episodes": _number(column("rollout/ep_rew_mean")[-1]),
        "largest KL of a step, nats": _number(kl[~np.isnan(kl)].max(initial=0)),
        "seconds": _number(np.floor(column("time/time_elapsed")[-1])),
    }


def _evaluation(run: RunFolder) -> str:
    result = run.read_evaluation()
    if result is None:
        return "not evaluated yet"
    try:
        return f"{result['mean_return']:.2f} ± {result['std_return']:.2f} over {result['episodes']:.0f} episodes"
    except KeyError as error:
        raise ValueError(f"{run.evaluation} cannot be read: it has no {error}") from None


def _rows(history: Mapping[str, Column]) -> list[list[str]]:
    """Write rows of the first and the last iteration, and of some in between."""
    count = len(history[STEPS])
    places = np.unique(np.linspace(0, count - 1, min(ROWS, count)).round().astype(int))
    columns = [history[name] for name in TABLE if name in history]
    return [[_number(column[place]) for column in columns] for place in places]


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.0f}" if abs(value) < 1e15 and float(value).is_integer() else f"{value:.4g}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

"""Write a report of one run as one HTML file: settings, results, figures, and a short table of the training."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from importlib import resources

import jinja2
import numpy as np

from tf_trpo.experiment import RunFolder
from tf_trpo.figures.charts import FIGURES, STEPS
from tf_trpo.figures.histories import Column, read_history
from tf_trpo.figures.run_curves import draw_panels
from tf_trpo.messages import rounded

TABLE = {STEPS: "steps", **FIGURES}
"""Columns of the table -> titles."""
ROWS = 12


def report(run: RunFolder) -> str:
    """Return the report of a run as HTML; text from files is escaped.

    Raises:
      ValueError: the folder holds no run, or its files are damaged.
    """
    config = run.read_config()
    history = read_history(run.history, [STEPS])
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((resources.files("tf_trpo.cli") / "report.html").read_text(encoding="utf-8"))
    return template.render(
        name=run.path.name or str(run.path.resolve()),
        settings=config["settings"],
        versions={**config["versions"], "platform": config.get("platform")},
        results=_results(run, history),
        figures={title: base64.b64encode(svg).decode() for title, svg in draw_panels(history).items()},
        header=[title for column, title in TABLE.items() if column in history],
        rows=_rows(history),
    )


def _results(run: RunFolder, history: Mapping[str, Column]) -> dict[str, str]:
    def column(name: str) -> Column:
        return history.get(name, np.full_like(history[STEPS], np.nan))

    kl, evaluation = column("train/kl_divergence_loss"), run.read_evaluation()
    returned = "not evaluated yet"
    if evaluation:
        spread = f"{rounded(evaluation['mean_return'], 2)} ± {rounded(evaluation['std_return'], 2)}"
        returned = f"{spread} over {evaluation['episodes']:.0f} episodes"
    return {
        "return after training": returned,
        "environment steps": f"{history[STEPS][-1]:.0f}",
        "iterations": f"{len(history[STEPS])}",
        "steps refused": f"{np.count_nonzero(column('train/is_line_search_success') == 0)}",
        "return of training's last episodes": _number(column("rollout/ep_rew_mean")[-1]),
        "largest mean KL of a step, nats": _number(kl[~np.isnan(kl)].max(initial=0)),
        "seconds": _number(np.floor(column("time/time_elapsed")[-1])),
    }


def _rows(history: Mapping[str, Column]) -> list[list[str]]:
    """Return table rows of the first and the last iteration, and of some in between."""
    count = len(history[STEPS])
    places = np.unique(np.linspace(0, count - 1, min(ROWS, count)).round().astype(int))
    columns = [history[name] for name in TABLE if name in history]
    return [[_number(column[place]) for column in columns] for place in places]


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.0f}" if abs(value) < 1e15 and float(value).is_integer() else f"{value:.4g}"

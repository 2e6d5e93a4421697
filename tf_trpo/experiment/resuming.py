"""Check that a run can be resumed, and with which settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tf_trpo.experiment.run_folder import RunFolder
from tf_trpo.experiment.settings import IMMATERIAL
from tf_trpo.figures.histories import read_history

if TYPE_CHECKING:
    from tf_trpo.experiment.experiment import Experiment

CHANGEABLE = ("total_steps", *sorted(IMMATERIAL))
"""Settings that may change when a run is resumed, since the steps that were already taken do not depend on them."""
_SHOWN = ("quiet",)
"""Settings of the process's output, which are not compared when a run is resumed."""


def resumed(experiment: Experiment, folder: RunFolder) -> Experiment:
    """Check that a run can be resumed with these settings.

    Returns:
      The settings. If total_steps differs, schedule_steps is the old total_steps, so that schedules continue.

    Raises:
      ValueError: there is no run, it is complete, its folder has links, a setting differs that must not change, or
        total_steps is smaller than the number of steps already taken.
    """
    folder.check_no_links()
    before = type(experiment).from_run(folder.path)
    schedule = before.run.schedule_steps
    if experiment.run.schedule_steps is None and schedule is not None:
        experiment = experiment.replace(schedule_steps=schedule)
    old, new = before.flat(), experiment.flat()
    changed = [name for name in sorted({*old, *new} - {*_SHOWN}) if old.get(name) != new.get(name)]
    refused = [name for name in changed if name not in CHANGEABLE]
    if refused:
        changeable = f"{', '.join(CHANGEABLE[:-1])} and {CHANGEABLE[-1]}"
        raise ValueError(f"a resumed run keeps its {', '.join(refused)}; only {changeable} can change")
    if folder.is_complete() and not changed:
        raise ValueError(f"{folder.path} is complete; a larger total_steps continues it")
    taken, old_total, total = _steps_taken(folder), before.run.total_steps, experiment.run.total_steps
    if total < min(old_total, taken):
        raise ValueError(f"{folder.path} has taken {taken} steps: total_steps cannot be reduced to {total}")
    return experiment.replace(schedule_steps=old_total) if total != old_total and schedule is None else experiment


def _steps_taken(folder: RunFolder) -> int:
    """Return the steps in the last row of a run's history; raise ValueError if the history cannot be continued."""
    if not folder.has_iterations():
        return 0
    iterations, steps = "time/iterations", "time/total_timesteps"
    try:
        history = read_history(folder.history, (iterations, steps))
        if not np.isfinite([history[iterations], history[steps]]).all():
            raise ValueError("a row has no number of its iteration, or of the steps until then")
    except ValueError as error:
        raise ValueError(f"mend {folder.history}, or move it away: {error}") from None
    return int(history[steps][-1])

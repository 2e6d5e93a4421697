"""Run a search from its first trial to the check of its best settings."""

from __future__ import annotations

import collections
import dataclasses
import importlib.util
import shlex
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np

from tf_trpo.distributions.making import continuous_dimensions, default_std, make_action_distribution
from tf_trpo.experiment import Experiment
from tf_trpo.experiment.generators import generators_kept
from tf_trpo.files import write_whole
from tf_trpo.messages import say
from tf_trpo.training.opening import spaces_of
from tf_trpo.tuning.comparison import Comparison, compared
from tf_trpo.tuning.files import (
    preset_text,
    read_settings,
    read_space_of,
    settings_file,
    space_file,
    write_result,
    write_settings,
)
from tf_trpo.tuning.processes import run_workers, sole_owner
from tf_trpo.tuning.progress import TrialTable
from tf_trpo.tuning.seeds import check_seeds
from tf_trpo.tuning.space import SearchSpace, check_space, default_space
from tf_trpo.tuning.study import Study, TrialRecord, best_of
from tf_trpo.tuning.training import finished_value
from tf_trpo.tuning.tuning import Tuning, TuningFailedError, TuningResult
from tf_trpo.tuning.work import DEFAULT, check_runs, work_on_check, work_on_trials


def written_out(experiment: Experiment, action_space: gym.Space) -> Experiment:
    """Replace a KL limit and an initial standard deviation of None by their defaults for an action space."""
    policy = experiment.policy
    algorithm = experiment.algorithm.settled(make_action_distribution(action_space, policy))
    size = continuous_dimensions(action_space)
    if size and policy.distribution == "gaussian" and policy.initial_std is None:
        policy = dataclasses.replace(policy, initial_std=default_std(size))
    return dataclasses.replace(experiment, algorithm=algorithm, policy=policy)


class Search:
    """A search in a folder.

    Args:
      tuning: settings of the search.
      folder: a new folder, or the folder of the same search.
    """

    def __init__(self, tuning: Tuning, folder: Path) -> None:
        self.tuning, self.folder = tuning, folder

    def run(self) -> TuningResult:
        """Run the search, or continue it; see `Tuning.run`."""
        if not settings_file(self.folder).exists() and any(_others(self.folder)):
            raise ValueError(f"{self.folder} is not empty, and holds no search: name another folder")
        experiment = self._start()
        # Make an agent once before the trials, so that wrong settings are not reported as failures of trials.
        with generators_kept():
            experiment.make_agent()
        self.folder.mkdir(parents=True, exist_ok=True)
        with sole_owner(self.folder):
            space = self._space(experiment)
            write_settings(self.folder, self.tuning, space)
            study = Study(self.folder, space, self.tuning.experiment.run.seed, prune=self.tuning.prune)
            outside, quiet = study.enqueue_default(experiment), self.tuning.experiment.run.quiet
            if outside and not quiet:
                say(f"no trial has the default settings: {', '.join(outside)} lie outside the space")
            study.repeat_killed()
            with TrialTable(study.records, self.tuning.trials, quiet=quiet) as table:
                self._search(study, table)
                best = best_of(study.records())
                if best is None:
                    raise TuningFailedError(f"none of {self.tuning.trials} trials was trained to its end")
                comparison, failure = None, None
                try:
                    comparison = self._compare(best, table)
                except TuningFailedError as error:
                    # Trials of hours are not lost with a training of the check.
                    failure = str(error)
            return self._finish(study, best, comparison, failure)

    def _start(self) -> Experiment:
        """Return the experiment with the defaults written out that depend on the environment's actions."""
        experiment = self.tuning.experiment
        making = {"backend": experiment.rollouts.backend, **experiment.environment.arguments()}
        _, action_space = spaces_of(experiment.env, **making)
        return written_out(experiment, action_space)

    def _space(self, experiment: Experiment) -> SearchSpace:
        """Return the search space; raise ValueError if the folder has another search."""
        if settings_file(self.folder).exists():
            differing = self.tuning.differences(read_settings(self.folder))
            if differing:
                raise ValueError(f"{self.folder} has a search with another {', '.join(differing)}: name another folder")
            # The file is missing if the search was killed between writing its two files.
            if space_file(self.folder).exists():
                return read_space_of(self.folder)
        space = self.tuning.space or default_space(experiment, self.tuning.fixed_settings)
        check_space(space, experiment)
        return space

    def _search(self, study: Study, table: TrialTable) -> None:
        if self.tuning.jobs == 1:
            work_on_trials(self.tuning, study, self.folder, on_change=table.update)
        else:
            run_workers(
                self.folder,
                self.tuning.jobs,
                "trials",
                on_tick=table.update,
                repair=study.repeat_killed,
            )

    def _compare(self, best: TrialRecord, table: TrialTable) -> Comparison | None:
        """Train the best settings and the default ones on fresh seeds; raise TuningFailedError if a training fails."""
        seeds = check_seeds(self.tuning.experiment.run.seed, self.tuning.check_seeds)
        if not seeds or best.is_default:
            return None
        table.say(
            f"Trial {best.number} is the best. Now it and the default settings are trained on {len(seeds)} fresh seeds."
        )
        runs = check_runs(self.tuning, best.number, best.settings)
        if self.tuning.jobs == 1:
            work_on_check(runs, self.tuning, self.folder)
        else:
            run_workers(self.folder, self.tuning.jobs, "check", on_tick=lambda: None, repair=lambda _: None)
        values = {name: finished_value(self.folder / "check" / name) for name, _ in runs}
        default = [value for name, value in values.items() if value is not None and name.startswith(DEFAULT)]
        found = [value for name, value in values.items() if value is not None and not name.startswith(DEFAULT)]
        return compared(seeds, default, found)

    def _finish(
        self, study: Study, best: TrialRecord, comparison: Comparison | None, failure: str | None
    ) -> TuningResult:
        assert best.value is not None, "a complete trial has a value"
        records, preset = study.records(), self.folder / "best.yaml"
        experiment = self.tuning.experiment.replace(**best.settings)
        verdict = _verdict(best, comparison, failure)
        states = dict(collections.Counter(record.state for record in records))
        write_whole(preset, preset_text(experiment, _preset_words(best, verdict, self.tuning)))
        importances = study.importances()
        write_result(
            self.folder,
            {
                "best": {"trial": best.number, "value": best.value, "settings": best.settings},
                "trials": states,
                "importances": importances,
                "comparison": None if comparison is None else dataclasses.asdict(comparison),
                "verdict": verdict,
                "check_failure": failure,
            },
        )
        draw(self.folder, records, importances)
        return TuningResult(
            self.folder, best.settings, experiment, best.value, states, preset, comparison, verdict, failure
        )


def _verdict(best: TrialRecord, comparison: Comparison | None, failure: str | None) -> str:
    if best.is_default:
        return "The search found nothing better than the default settings: they are the best trial."
    if comparison is not None:
        return comparison.verdict(float(best.value or 0.0))
    found = f"The best trial returned {best.value:.4g} in the search."
    if failure is not None:
        advice = "Keep the default settings; the same search repeats the check."
        return f"{found} The check on fresh seeds FAILED: {failure}. {advice}"
    return f"{found} It was not checked on fresh seeds: the best of many trials is always partly luck."


def _others(folder: Path) -> Iterator[Path]:
    """Return the files of a folder other than lock files, the only files of a search without settings."""
    return (path for path in folder.glob("*") if path.suffix != ".lock")


def draw(folder: Path, records: list[TrialRecord], importances: dict[str, float]) -> None:
    """Draw the returns of the trials and the importances of the settings, if matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    from tf_trpo.figures.style import styled, write
    from tf_trpo.figures.trials import draw_importances, draw_trials

    finished = [record for record in records if record.state in ("complete", "pruned") and record.value is not None]
    with styled():
        values = np.array([record.value for record in finished], np.float64)
        complete = np.array([record.state == "complete" for record in finished], bool)
        write(draw_trials(np.array([record.number for record in finished]), values, complete), folder / "trials.png")
        if importances:
            write(draw_importances(importances), folder / "importances.png")
        else:
            (folder / "importances.png").unlink(missing_ok=True)


def _preset_words(best: TrialRecord, verdict: str, tuning: Tuning) -> str:
    env = shlex.quote(tuning.experiment.env)
    return f"Trial {best.number} of a search for {env}; its settings: {', '.join(best.settings)}.\n{verdict}"

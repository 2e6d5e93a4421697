"""Settings and results of a search."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_trpo.experiment import Experiment
from tf_trpo.experiment.conversion import leaves, unknown_names
from tf_trpo.experiment.settings import IMMATERIAL
from tf_trpo.ranges import require_allowed
from tf_trpo.tuning.space import SearchSpace, check_space, parsed_space, plain_space

if TYPE_CHECKING:
    from tf_trpo.tuning.comparison import Comparison

MOST_SEEDS = 1000
_CHANGEABLE = ("trials", "check_seeds", "jobs")
"""Settings that may differ when a search is continued, since finished trials do not depend on them."""


class TuningFailedError(RuntimeError):
    """No trial could be trained to its end, or another part of the search failed; the message says why."""


@dataclasses.dataclass(frozen=True)
class TuningResult:
    """The result of a search.

    Attributes:
      folder: folder of the search.
      settings: the searched settings of the best trial, by name.
      experiment: the experiment with these settings.
      value: the best trial's mean return in the search; as the best of many values, it is biased upwards.
      trials: state -> number of trials, such as {"complete": 12, "pruned": 28}.
      preset: YAML file with the best settings, for `train --preset` and `Experiment.from_file`.
      comparison: comparison with the default settings on fresh seeds; None if the best trial has the default settings,
        if check_seeds is 0, or if the check failed.
      verdict: text that says whether the best settings are better than the default ones.
      check_failure: why a training of the check failed; None if none failed. Running the search again repeats it.
    """

    folder: Path
    settings: Mapping[str, Any]
    experiment: Experiment
    value: float
    trials: Mapping[str, int]
    preset: Path
    comparison: Comparison | None
    verdict: str
    check_failure: str | None = None


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Search for settings of an experiment that give a larger return after the same number of environment steps.

        tuning = tf_trpo.tuning.Tuning(tf_trpo.Experiment("Pendulum-v1").replace(total_steps=50_000), trials=20)
        result = tuning.run("tuning/pendulum")
        print(result.verdict)
        tf_trpo.Experiment.from_file(result.preset).train("runs/tuned")

    A trial trains with some settings, and its value is the mean return of the final evaluation. The first trial has the
    experiment's own settings. A trial is stopped early if it is worse than the median, at the same evaluation, of the
    trials that were trained to the end. At the end, the best settings and the experiment's own ones are trained on
    seeds that the search did not use.

    Raises:
      ValueError: a setting is outside its range, or a setting of the search space cannot be searched.

    Source:
      Akiba et al. (2019), "Optuna: A Next-generation Hyperparameter Optimization Framework"; Eimer et al. (2023),
      "Hyperparameters in Reinforcement Learning and How To Tune Them", for separate seeds of search and check.
    """

    experiment: Experiment
    """Settings from which the search starts. Each training has its total_steps, and all seeds derive from its seed."""
    trials: int = 40
    """Number of trials, including the one with the default settings; killed trials do not count."""
    space: SearchSpace | None = None
    """The settings to search, each with a `Range` or a `Choice`; None: `default_space` without `fixed_settings`."""
    fixed_settings: tuple[str, ...] = ()
    """Settings that are not searched unless `space` names them: all trials have the experiment's values."""
    seeds: int = 1
    """Trainings per trial, each with its own seed; a trial's value is the mean of their returns. All trials use the
    same seeds."""
    evaluations: int = 5
    """Evaluations during each training, the last at its end. At these, trials are compared and may be stopped early."""
    prune: bool = True
    """Stop bad trials early, but never the first five, and never at the first evaluation."""
    check_seeds: int = 5
    """Number of fresh seeds on which the best and the default settings are trained at the end; 0 for no check."""
    jobs: int = 1
    """Number of processes that train at the same time; with 1, training happens in this process. Other processes can
    only make environments from Gymnasium's own ids, or from module:Class or module:Id."""

    def __post_init__(self) -> None:
        seeds = f"[1, {MOST_SEEDS}]"
        require_allowed(self, trials="[1, 100000]", seeds=seeds, evaluations="[1, 1000]", jobs="[1, 1000]")
        require_allowed(self, check_seeds=f"[0, {MOST_SEEDS}]")
        known = leaves(Experiment)
        unknown = [name for name in self.fixed_settings if name not in known]
        if unknown:
            raise ValueError(f"fixed_settings has unknown settings: {unknown_names(unknown, self.experiment.flat())}")
        if self.space is not None:
            check_space(self.space, self.experiment)

    def run(self, folder: str | os.PathLike[str]) -> TuningResult:
        """Run or continue a search, check the best settings, and write all results to a folder.

        If a training of the check fails, the result says so, and running the search again continues the check.

        Args:
          folder: folder of the search. It must not exist, or must hold a search whose settings are equal except for
            trials, check_seeds, jobs, and settings that change no result but for rounding; docs/tuning.md lists them.

        Returns:
          The result of the search.

        Raises:
          ImportError: Optuna is not installed (extra tune).
          ValueError: the folder holds something else, or another process is searching in it; or as `Experiment.train`.
          TuningFailedError: no trial could be trained to its end.
          KeyboardInterrupt: a signal stopped the search; run it again to continue.
        """
        from tf_trpo.tuning.search import Search

        return Search(self, Path(folder)).run()

    def to_json(self) -> dict[str, Any]:
        """Return all settings as JSON values."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        space = None if self.space is None else plain_space(self.space)
        return json.loads(json.dumps({**named, "experiment": self.experiment.flat(), "space": space}))

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Tuning:
        """Make a `Tuning` from the result of `to_json`.

        Raises:
          ValueError: a setting is unknown or outside its range.
        """
        space = settings["space"]
        made: dict[str, Any] = {
            **settings,
            "experiment": Experiment().replace(**settings["experiment"]),
            "space": None if space is None else parsed_space(space, "the search space"),
        }
        return cls(**made)

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Return the settings that differ from those of a search in a file and must be equal to continue it."""
        own = self.to_json()
        changed = [name for name in own if name not in ("experiment", *_CHANGEABLE) and own[name] != other.get(name)]
        ours, theirs = own["experiment"], other.get("experiment", {})
        # The episodes of the evaluation change a trial's value.
        compared = sorted({*ours, *theirs} - (IMMATERIAL - {"eval_episodes", "eval_envs", "max_episode_steps"}))
        return changed + [name for name in compared if ours.get(name) != theirs.get(name)]

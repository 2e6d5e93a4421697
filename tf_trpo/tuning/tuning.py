"""The settings of a search, and the search itself: trials, the best of them, and the check on fresh seeds."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_trpo.experiment import Experiment
from tf_trpo.ranges import require_allowed
from tf_trpo.tuning.space import SearchSpace, check_space, parsed_space, plain_space

if TYPE_CHECKING:
    from tf_trpo.tuning.comparison import Comparison

MOST_SEEDS = 1000
_CHANGEABLE = ("trials", "check_seeds", "jobs")
"""Settings that may differ when a search is continued: they change nothing of what was done."""


class TuningFailedError(RuntimeError):
    """No trial could be trained to its end; the message has the reason of the last one."""


@dataclasses.dataclass(frozen=True)
class TuningResult:
    """What a search found.

    Attributes:
      folder: of the search.
      settings: the searched settings of the best trial, by name.
      experiment: the experiment with these settings.
      value: the best trial's mean return, in the search; it is too good to be true, since it is the best of many.
      trials: the number of trials by their states, such as {"complete": 12, "pruned": 28}.
      preset: the YAML file of the best settings, for `train --preset` and `Experiment.from_file`.
      comparison: with the default settings on fresh seeds; None if the best trial has the default settings, or without
        check_seeds.
      verdict: in words, whether the best settings are better than the default.
    """

    folder: Path
    settings: Mapping[str, Any]
    experiment: Experiment
    value: float
    trials: Mapping[str, int]
    preset: Path
    comparison: Comparison | None
    verdict: str


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Search for settings of an experiment that give a larger return after the same number of environment steps.

        tuning = tf_trpo.tuning.Tuning(tf_trpo.Experiment("Pendulum-v1").replace(total_steps=50_000), trials=20)
        result = tuning.run("tuning/pendulum")
        print(result.verdict)
        tf_trpo.Experiment.from_file(result.preset).train("runs/tuned")

    A trial trains with some settings and takes the mean return of the final evaluation. The first trial has the
    experiment's own settings. Trials that are worse than the median of the others at the same evaluation are cut short.
    At the end, the best settings and the experiment's own ones are trained on seeds that the search does not use.

    Raises:
      ValueError: a setting is outside its range, or a setting of the search space cannot be searched.

    Source:
      Akiba et al. (2019), "Optuna: A Next-generation Hyperparameter Optimization Framework"; Eimer et al. (2023),
      "Hyperparameters in Reinforcement Learning and How To Tune Them": seeds of the search and of the test apart.
    """

    experiment: Experiment
    """Where the search starts. Each training has its total_steps, and its seed decides about all seeds."""
    trials: int = 40
    """Trials to begin, the one of the default settings among them; killed ones do not count."""
    space: SearchSpace | None = None
    """The settings to search, each with a `Range` or a `Choice`; None for `default_space`."""
    seeds: int = 1
    """Trainings of a trial, on as many seeds; its value is their mean. The seeds are the same for all trials."""
    evaluations: int = 5
    """Evaluations of a training, the last at its end; trials are compared and cut short at them."""
    prune: bool = True
    """Cut trials short. The first five are never cut short, and none is at its first evaluation."""
    check_seeds: int = 5
    """Fresh seeds on which the best and the default settings are trained in the end; 0 for no check."""
    jobs: int = 1
    """Processes that train at the same time; with 1, everything happens in this process. Processes of their own know
    environments by ids that Gymnasium has, or by module:Id."""

    def __post_init__(self) -> None:
        seeds = f"[1, {MOST_SEEDS}]"
        require_allowed(self, trials="[1, 100000]", seeds=seeds, evaluations="[1, 1000]", jobs="[1, 1000]")
        require_allowed(self, check_seeds=f"[0, {MOST_SEEDS}]")
        if self.space is not None:
            check_space(self.space, self.experiment)

    def run(self, folder: str | os.PathLike[str]) -> TuningResult:
        """Search, or continue a search that was stopped or killed; check the best settings, write all to the folder.

        Args:
          folder: of the search; it does not exist, or has a search with equal settings, except for trials, check_seeds
            and jobs.

        Returns:
          What was found.

        Raises:
          ImportError: Optuna is not installed (extra tune).
          ValueError: the folder has something else, or another process is searching in it; as `Experiment.train`.
          TuningFailedError: no trial could be trained to its end.
          KeyboardInterrupt: a signal stopped the search; run it again to continue.
        """
        from tf_trpo.tuning.search import Search

        return Search(self, Path(folder)).run()

    def to_json(self) -> dict[str, Any]:
        """Make a mapping of all settings, for a file."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        space = None if self.space is None else plain_space(self.space)
        return json.loads(json.dumps({**named, "experiment": self.experiment.flat(), "space": space}))

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Tuning:
        """Undo `to_json`.

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
        """List the settings in which the search of a file differs, of those that must be equal to continue it."""
        own = self.to_json()
        changed = [name for name in own if name not in ("experiment", *_CHANGEABLE) and own[name] != other.get(name)]
        ours, theirs = own["experiment"], other.get("experiment", {})
        of_runs = {"quiet", "threads"}
        return changed + [name for name in sorted({*ours, *theirs} - of_runs) if ours.get(name) != theirs.get(name)]

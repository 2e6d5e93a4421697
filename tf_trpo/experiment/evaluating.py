"""Settings of a run on which evaluations, exports and films of its agent depend."""

from __future__ import annotations

from typing import Any

from tf_trpo.experiment.conversion import changed, leaves
from tf_trpo.experiment.experiment import Experiment
from tf_trpo.experiment.run_folder import RunFolder
from tf_trpo.experiment.settings import EnvironmentSettings

_READ = ("env", *leaves(EnvironmentSettings), "max_episode_steps", "eval_envs", "seed")


def for_evaluation(folder: RunFolder) -> Experiment:
    """Read the environment, the seed and how a run is evaluated; other settings have their defaults.

    So the agent of a run of another version, which has other settings, can be evaluated too. A setting that the run
    does not have has its default.

    Raises:
      ValueError: the folder holds no run, or a value that is read is not allowed; the message names the setting.
    """
    settings = folder.read_config()["settings"]
    if "env" not in settings:
        raise ValueError(f"{folder.config} names no environment: it has no env")
    found = {name: settings[name] for name in _READ if name in settings}
    return changed(Experiment(), found, dict.fromkeys(found, f"{folder.config}: "))


def evaluation_arguments(experiment: Experiment) -> dict[str, Any]:
    """Return the arguments of `TRPO.evaluate` that an experiment's settings give, without the number of episodes."""
    making, run = experiment.environment, experiment.run
    how: dict[str, Any] = {"seed": run.seed, "num_envs": run.eval_envs, "max_episode_steps": run.max_episode_steps}
    return {**how, "info_keys": making.info_keys, **making.arguments()}

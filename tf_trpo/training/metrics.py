"""The names of all logged figures. A figure that does not exist in an iteration is left out of the logs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_trpo.optimizers import Outcome
from tf_trpo.rollouts import Episode
from tf_trpo.training.results import PolicyResult, UpdateResult

Logs = dict[str, float]

OUTCOME_NAMES = {
    # Names that Stable-Baselines3 has too.
    "surrogate": "policy_objective",
    "kl": "kl_divergence_loss",
    "accepted": "is_line_search_success",
}
"""Names under train/ of an outcome's figures; every other figure keeps its own name."""


def update_logs(result: UpdateResult) -> Logs:
    """Name the figures of an update.

    Args:
      result: of tensors or numbers.

    Returns:
      Figures by name; those that are None or not finite are left out.
    """
    policy, value = result
    figures: dict[str, Any] = {
        **{f"train/{OUTCOME_NAMES.get(name, name)}": figure for name, figure in policy.outcome._asdict().items()},
        **{f"bound/{name}": figure for name, figure in _bound(policy).items()},
        **{f"train/{name}": figure for name, figure in policy.distribution.items()},
        "train/normalization_kl": policy.normalization_kl,
        "train/statistics_are_finite": policy.statistics_are_finite,
        "train/value_loss": value.loss,
        "train/explained_variance": value.explained_variance,
        "train/learning_rate": value.learning_rate,
    }
    return _existing(figures)


def episode_logs(episodes: Sequence[Episode]) -> Logs:
    """Name the mean return and length of the last episodes; nothing if no episode has ended."""
    if not episodes:
        return {}
    mean_return, mean_length = np.array(episodes, np.float64).mean(axis=0).tolist()
    return {"rollout/ep_rew_mean": mean_return, "rollout/ep_len_mean": mean_length}


def time_logs(*, steps: int, iterations: int, elapsed: float, steps_of_fit: int) -> Logs:
    """Name the counters of a fit.

    Args:
      steps: environment steps of the agent.
      iterations: iterations of the agent.
      elapsed: seconds of the fit.
      steps_of_fit: environment steps since the fit began.
    """
    return {
        "time/total_timesteps": steps,
        "time/iterations": iterations,
        "time/time_elapsed": elapsed,
        "time/fps": steps_of_fit / elapsed,
    }


def _bound(policy: PolicyResult) -> dict[str, Any]:
    outcome: Outcome = policy.outcome
    return {"mean_kl": outcome.kl, "max_kl": outcome.max_kl_over_states, **policy.bound._asdict()}


def _existing(figures: Mapping[str, Any]) -> Logs:
    numbers = {name: float(figure) for name, figure in sorted(figures.items()) if figure is not None}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}

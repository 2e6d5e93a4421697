"""Figures of infos: costs at each step, others at the ends of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from tf_trpo.environments.costs import COSTS, Cost, Step, cost_labels, costs_of, find_costs
from tf_trpo.environments.failures import EnvironmentFailedError
from tf_trpo.environments.own_vectors import PAUSED
from tf_trpo.environments.reading import figure
from tf_trpo.environments.sync import row_of
from tf_trpo.spaces import WrongValueError


class KeptInfos(VectorWrapper):
    """Keeps costs, and named figures of the infos of steps that end an episode, and nothing else of infos.

    Args:
      env: B environments in NEXT_STEP mode.
      keys: names of numbers, such as "is_success"; keys of nested infos are joined by "/", such as "episode/r".
      costs: as for `make_vector_environment`. If the environments do not give `COSTS`, these are keys of infos.

    Attributes:
      info_keys: the names.
      costs: the labels of the costs.

    Raises:
      EnvironmentFailedError: from `step`: a value is no number, or a step gives no cost.
    """

    def __init__(self, env: VectorEnv, keys: Sequence[str], costs: Sequence[Cost] = ()) -> None:
        super().__init__(env)
        self.info_keys = tuple(keys)
        self.costs = cost_labels(costs)
        self._costs = find_costs(costs)
        self._ended = np.zeros(env.num_envs, bool)

    def reset(self, **kwargs: Any) -> Any:
        options = kwargs.get("options") or {}
        self._ended &= ~options.get("reset_mask", np.ones(self.num_envs, bool))
        return self.env.reset(**kwargs)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, np.ndarray]]:
        """Step; the infos are float64 [B] for each name, NaN if no episode ended or the name is absent.

        If no episode ended, the infos are empty but for the costs.
        """
        *step, infos = self.env.step(actions)
        ended = np.flatnonzero(step[2] | step[3]).tolist()
        no_step, self._ended = self._ended, step[2] | step[3]
        kept: dict[str, np.ndarray] = {PAUSED: infos[PAUSED]} if PAUSED in infos else {}
        if ended:
            kept |= {key: np.full(self.num_envs, np.nan) for key in self.info_keys}
        if self.costs:
            kept[COSTS] = infos[COSTS] if COSTS in infos else self._read_costs(infos, no_step)
        for index in ended:
            info = _info_of(infos, index)
            for key in self.info_keys:
                try:
                    kept[key][index] = figure(info, key)
                except WrongValueError as error:
                    raise EnvironmentFailedError(f"environment {index} gave an info[{key!r}] {error}") from None
        return (*step, kept)

    def _read_costs(self, infos: Any, no_step: np.ndarray) -> np.ndarray:
        """Read the costs [B, C]; they are 0 in rows that are no steps."""
        costs = np.zeros((self.num_envs, len(self.costs)))
        no_step = no_step | infos[PAUSED] if PAUSED in infos else no_step
        for index in np.flatnonzero(~no_step).tolist():
            info = _info_of(infos, index)
            try:
                costs[index] = costs_of(self._costs, Step(None, None, 0.0, None, info))
            except WrongValueError as error:
                raise EnvironmentFailedError(f"environment {index} gave {error}") from None
        return costs


def kept_infos(environments: VectorEnv) -> tuple[str, ...]:
    """Name the figures that a vector environment keeps of infos, by `KeptInfos` below any other wrappers."""
    kept = _kept(environments)
    return () if kept is None else kept.info_keys


def kept_costs(environments: VectorEnv) -> tuple[str, ...]:
    """Name the costs that a vector environment gives at each step, as `kept_infos` does the figures."""
    kept = _kept(environments)
    return () if kept is None else kept.costs


def _kept(environments: VectorEnv) -> KeptInfos | None:
    while isinstance(environments, VectorWrapper):
        if isinstance(environments, KeptInfos):
            return environments
        environments = environments.env
    return None


def _info_of(infos: Any, index: int) -> dict[str, Any]:
    """Take one environment's info out of Gymnasium's merged infos, or out of a list of infos.

    In SAME_STEP mode, the info of the final step is infos["final_info"], next to what vector wrappers add.
    """
    if isinstance(infos, list | tuple):
        return dict(infos[index])
    own = row_of(infos, index)
    final = own.get("final_info")
    return own | final if isinstance(final, dict) else own

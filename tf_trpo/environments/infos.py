"""Numbers from infos: costs at each step, other numbers at the end of an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from tf_trpo.environments.costs import COSTS, Cost, Step, cost_labels, costs_of, find_costs
from tf_trpo.environments.episodes import REPLAY, replay_endings
from tf_trpo.environments.failures import EnvironmentFailedError
from tf_trpo.environments.own_vectors import PAUSED
from tf_trpo.environments.reading import figure
from tf_trpo.environments.sync import row_of
from tf_trpo.spaces import WrongValueError


class KeptInfos(VectorWrapper):
    """Reduces infos to the costs of each step and to named numbers of the steps that end an episode.

    Args:
      env: B environments in NEXT_STEP mode.
      keys: names of numbers, such as "is_success"; keys of nested infos are joined by "/", such as "episode/r".
      costs: as for `make_vector_environment`. If the environments' infos have no `COSTS`, they must be keys of infos.

    Attributes:
      info_keys: the names of the numbers.
      costs: the labels of the costs.

    Raises:
      EnvironmentFailedError: from `step`: a value is not a number, or a step lacks a cost.
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
        given = self.env.reset(**kwargs)
        if REPLAY in options:
            # Where the replayed episode ended, the next step is no step: it begins the next episode.
            self._ended = np.array([ended is True for ended in replay_endings(self.env)])
        return given

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, np.ndarray]]:
        """Step the environments.

        The infos hold the costs, and, if an episode ended, float64 [B] for each name: NaN for environments whose
        episode did not end or whose info lacks the name.
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
            info = _info_of(infos, index, self.info_keys)
            for key in self.info_keys:
                try:
                    kept[key][index] = figure(info, key)
                except WrongValueError as error:
                    raise EnvironmentFailedError(f"environment {index} gave an info[{key!r}] {error}") from None
        return (*step, kept)

    def _read_costs(self, infos: Any, no_step: np.ndarray) -> np.ndarray:
        """Return the costs [B, C] of a step; 0 for environments that only reset or paused."""
        costs = np.zeros((self.num_envs, len(self.costs)))
        no_step = no_step | infos[PAUSED] if PAUSED in infos else no_step
        for index in np.flatnonzero(~no_step).tolist():
            info = _info_of(infos, index, self.costs)
            try:
                costs[index] = costs_of(self._costs, Step(None, None, 0.0, None, info))
            except WrongValueError as error:
                raise EnvironmentFailedError(f"environment {index} gave {error}") from None
        return costs


def kept_infos(environments: VectorEnv) -> tuple[str, ...]:
    """Return the names of the numbers that a vector environment keeps by `KeptInfos`, which may be wrapped."""
    kept = _kept(environments)
    return () if kept is None else kept.info_keys


def kept_costs(environments: VectorEnv) -> tuple[str, ...]:
    """Return the labels of the costs that a vector environment keeps by `KeptInfos`, which may be wrapped."""
    kept = _kept(environments)
    return () if kept is None else kept.costs


def _kept(environments: VectorEnv) -> KeptInfos | None:
    while isinstance(environments, VectorWrapper):
        if isinstance(environments, KeptInfos):
            return environments
        environments = environments.env
    return None


def _info_of(infos: Any, index: int, keys: Sequence[str]) -> dict[str, Any]:
    """Extract one environment's info from Gymnasium's merged infos, or from a list of infos.

    In SAME_STEP mode, infos["final_info"] is the info of the final step, next to entries that vector wrappers add. Only
    entries that the keys name are read: others may be of all environments together, such as a time.
    """
    if isinstance(infos, list | tuple):
        return dict(infos[index])
    own = row_of(_named(infos, {name for key in keys for name in (key, key.partition("/")[0])}), index)
    final = own.get("final_info")
    return own | final if isinstance(final, dict) else own


def _named(infos: Any, names: Set[str]) -> dict[str, Any]:
    """Return the entries of these names, and of final_info, with Gymnasium's entries "_NAME" that belong to them."""
    wanted = names | {"final_info"}
    found = {name: part for name, part in infos.items() if name in wanted or name.removeprefix("_") in wanted}
    final = found.get("final_info")
    return found | {"final_info": _named(final, names)} if isinstance(final, Mapping) else found

"""Figures of infos at the ends of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from tf_trpo.environments.failures import EnvironmentFailedError
from tf_trpo.environments.own_vectors import PAUSED
from tf_trpo.environments.reading import figure
from tf_trpo.environments.sync import row_of
from tf_trpo.spaces import WrongValueError


class EpisodeInfos(VectorWrapper):
    """Keeps named figures of the infos of steps that end an episode, and nothing else of infos.

    Args:
      env: B environments in NEXT_STEP mode.
      keys: names of numbers, such as "is_success"; keys of nested infos are joined by "/", such as "episode/r".

    Attributes:
      info_keys: the names.

    Raises:
      EnvironmentFailedError: from `step`: a value is no number.
    """

    def __init__(self, env: VectorEnv, keys: Sequence[str]) -> None:
        super().__init__(env)
        self.info_keys = tuple(keys)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, np.ndarray]]:
        """Step; the infos are float64 [B] for each name, NaN if no episode ended or the name is absent.

        If no episode ended, the infos are empty.
        """
        *step, infos = self.env.step(actions)
        ended = np.flatnonzero(step[2] | step[3]).tolist()
        kept: dict[str, np.ndarray] = {PAUSED: infos[PAUSED]} if PAUSED in infos else {}
        if ended:
            kept |= {key: np.full(self.num_envs, np.nan) for key in self.info_keys}
        for index in ended:
            info = _info_of(infos, index)
            for key in self.info_keys:
                try:
                    kept[key][index] = figure(info, key)
                except WrongValueError as error:
                    raise EnvironmentFailedError(f"environment {index} gave an info[{key!r}] {error}") from None
        return (*step, kept)


def kept_infos(environments: VectorEnv) -> tuple[str, ...]:
    """Name the figures that a vector environment keeps of infos, by `EpisodeInfos` below any other wrappers."""
    while isinstance(environments, VectorWrapper):
        if isinstance(environments, EpisodeInfos):
            return environments.info_keys
        environments = environments.env
    return ()


def _info_of(infos: Any, index: int) -> dict[str, Any]:
    """Take one environment's info out of Gymnasium's merged infos, or out of a list of infos.

    In SAME_STEP mode, the info of the final step is infos["final_info"], next to what vector wrappers add.
    """
    if isinstance(infos, list | tuple):
        return dict(infos[index])
    own = row_of(infos, index)
    final = own.get("final_info")
    return own | final if isinstance(final, dict) else own

"""EnvPool through Gymnasium's vector interface."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from tf_trpo.extras import not_installed


class EnvPoolVectorEnv(VectorEnv):
    """An EnvPool pool of `num_envs` environments. Each call steps all of them; the first reset makes the pool.

    Actions that EnvPool takes as float64 are float32 here, as in Gymnasium's environments of the same ids, in which the
    agent may be made and evaluated.

    Raises:
      ImportError: EnvPool is not installed.
      ValueError: the environment is not an id, or EnvPool does not know it.
    """

    def __init__(self, environment_id: Any, num_envs: int, env_kwargs: Mapping[str, Any]) -> None:
        if not isinstance(environment_id, str):
            raise ValueError("EnvPool makes environments from ids only")
        try:
            import envpool
        except ImportError as error:
            raise not_installed("envpool") from error
        if environment_id not in envpool.list_all_envs():
            raise ValueError(f"EnvPool has no environment {environment_id!r}; the sync and async backends may")
        self._make_pool = functools.partial(envpool.make_gymnasium, environment_id, num_envs=num_envs, **env_kwargs)
        self._pool: Any = None
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        spec = envpool.make_spec(environment_id, num_envs=num_envs, **env_kwargs)
        self.single_observation_space, pool_actions = _spaces(spec)
        self._takes_float64 = isinstance(pool_actions, Box) and pool_actions.dtype == np.float64
        self.single_action_space = _in_float32(pool_actions) if self._takes_float64 else pool_actions
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin new episodes. A seed makes a new pool, since EnvPool takes its seed when the pool is made."""
        if seed is not None or self._pool is None:
            self.close_extras()
            self._pool = self._make_pool(seed=seed or 0)
            # The pool makes its spaces at the first use, with a warning that is silenced there.
            _spaces(self._pool)
        return self._pool.reset()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        return self._pool.step(actions.astype(np.float64) if self._takes_float64 else actions)

    def close_extras(self, **kwargs: Any) -> None:
        if self._pool is not None:
            self._pool.close()


def _spaces(owner: Any) -> tuple[Any, Any]:
    """Return the spaces of a pool or of its specification, which makes them at their first use."""
    with warnings.catch_warnings():
        # The spaces are float32 and their bounds are float64, of which Gymnasium warns.
        warnings.filterwarnings("ignore", ".*precision lowered by casting to float32", UserWarning)
        return owner.observation_space, owner.action_space


def _in_float32(space: Box) -> Box:
    low, high = (bound.astype(np.float32) for bound in (space.low, space.high))
    return Box(low, high, space.shape, np.float32)

"""Adapt vector environments that the caller made to the interface that a rollout source needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from tf_trpo.environments.failures import EnvironmentFailedError
from tf_trpo.environments.sync import copied, row_of, write_row
from tf_trpo.spaces import WrongValueError, flatten_to, observation_reader, observation_spec

PAUSED = "tf_trpo/paused"
"""Key of a step's infos: bool [B], True for environments that were not stepped although their episodes continue."""
_FINAL = ("final_obs", "final_observation", "terminal_observation")
"""Keys of the final observation in infos: of Gymnasium, of Gymnasium before 1.1, of SuperSuit."""
_STEP = "step(actions) must return (observations, rewards, terminations, truncations, infos)"
_RESET = "reset(seed=..., options=...) must return (observations, infos)"


class AdaptedVectorEnv(VectorWrapper):
    """Gives any vector environment the interface of NEXT_STEP autoreset, and checks what it returns.

    In NEXT_STEP mode, the row after the end of an episode is a reset and not a step, so that the final observation has
    a row of its own. Environments in the modes SAME_STEP and DISABLED can only be stepped together. So after the end
    of an episode there is a row in which no environment is stepped. It returns the new episode's first observation,
    which is known already (SAME_STEP) or comes from a reset with the option `reset_mask` (DISABLED). For the other
    environments this row is a pause: infos[PAUSED] is True.

    A vector environment of a class that is not Gymnasium's is seeded by one number. SuperSuit's have only the spaces
    of a single agent, and a list of infos.

    Args:
      env: B environments.

    Attributes:
      pauses: whether there are pauses, because the environments can only be stepped together.

    Raises:
      ValueError: the autoreset mode is unknown, or the observation space is not supported.
      EnvironmentFailedError: from `step` and `reset`: the type or shape of a value differs from the spaces or from
        Gymnasium's interface, SAME_STEP gives no final observation, or DISABLED cannot reset only some environments.
    """

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        self._mode = _mode(env)
        self.pauses = self._mode != AutoresetMode.NEXT_STEP
        self.metadata = {**(env.metadata or {}), "autoreset_mode": AutoresetMode.NEXT_STEP}
        if not hasattr(env, "single_observation_space"):
            self.single_observation_space, self.single_action_space = env.observation_space, env.action_space
            self.observation_space = batch_space(env.observation_space, env.num_envs)
            self.action_space = batch_space(env.action_space, env.num_envs)
        self._spec = observation_spec(self.single_observation_space)
        self._read, self._read_one = observation_reader(self._spec, env.num_envs), observation_reader(self._spec)
        self._ended = np.zeros(env.num_envs, bool)
        self._begun: Any = None
        """The current observations; for an episode that has just begun, its first one (SAME_STEP)."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if isinstance(seed, list) and not isinstance(self.env.unwrapped, SyncVectorEnv | AsyncVectorEnv):
            seed = seed[0]
        given = self.env.reset(seed=seed, options=options)
        if not isinstance(given, tuple) or len(given) != 2:
            raise EnvironmentFailedError(f"the environments gave something else than a tuple of two: {_RESET}")
        self._ended = np.zeros(self.num_envs, bool)
        return self._checked(given[0]), {}

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Any]:
        if self.pauses and self._ended.any():
            return self._pause()
        given = self.env.step(actions)
        if not isinstance(given, tuple | list) or len(given) != 5:
            raise EnvironmentFailedError(f"the environments gave something else than a tuple of five: {_STEP}")
        if not isinstance(given[4], Mapping | list | tuple):
            raise EnvironmentFailedError(f"the environments gave infos that are no dict, but {given[4]!r}: {_STEP}")
        observations = self._checked(given[0])
        rewards = self._numbers("rewards", given[1]).astype(np.float64, copy=False)
        terminated, truncated = self._flags("terminations", given[2]), self._flags("truncations", given[3])
        if self.pauses:
            # The next step of the environments may write to the same arrays.
            self._ended, self._begun = terminated | truncated, copied(observations)
            if self._mode == AutoresetMode.SAME_STEP:
                observations = self._with_final(observations, given[4])
        return observations, rewards, terminated, truncated, given[4]

    def _pause(self) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Begin the next episodes without a step."""
        ended, self._ended = self._ended, np.zeros(self.num_envs, bool)
        observations = self._begun
        if self._mode == AutoresetMode.DISABLED:
            observations = self._checked(self.env.reset(options={"reset_mask": ended.copy()})[0])
            pairs = zip(*(flatten_to(self._spec, nest) for nest in (observations, self._begun)), strict=True)
            if any(part[~ended].tobytes() != before[~ended].tobytes() for part, before in pairs):
                raise EnvironmentFailedError(
                    "the environments are in autoreset mode DISABLED, and reset(options={'reset_mask': ...}) has "
                    "changed environments that the mask does not choose: use the mode NEXT_STEP or SAME_STEP"
                )
        nothing = np.zeros(self.num_envs, bool)
        return observations, np.zeros(self.num_envs), nothing, nothing.copy(), {PAUSED: ~ended}

    def _with_final(self, observations: Any, infos: Any) -> Any:
        """Replace the first observations of new episodes by the final observations from the infos."""
        observations = copied(observations)
        for index in np.flatnonzero(self._ended).tolist():
            own = infos[index] if isinstance(infos, list | tuple) else infos
            found = [own[name] for name in _FINAL if name in own]
            if not found:
                raise EnvironmentFailedError(
                    'the environments are in autoreset mode SAME_STEP and gave no info["final_obs"] at the end of an '
                    "episode, whose value is needed: give it, or use the mode NEXT_STEP"
                )
            final = found[0] if own is not infos else row_of(found[0], index)
            try:
                write_row(observations, index, self._read_one(final))
            except WrongValueError as error:
                raise EnvironmentFailedError(f"environment {index} gave {error}, as final observation") from None
        return observations

    def _checked(self, observations: Any) -> Any:
        try:
            return self._read(observations)
        except WrongValueError as error:
            raise EnvironmentFailedError(f"the environments gave {error}, for {self.num_envs} environments") from None

    def _numbers(self, name: str, values: Any) -> np.ndarray:
        array = np.asarray(values)
        if array.shape != (self.num_envs,) or array.dtype.kind not in "biuf":
            given = f"{name} of shape {array.shape} and type {array.dtype}"
            raise EnvironmentFailedError(f"the environments gave {given}, not {self.num_envs} numbers")
        return array

    def _flags(self, name: str, values: Any) -> np.ndarray:
        array = self._numbers(name, values)
        if array.dtype == bool:
            return array
        if not ((array == 0) | (array == 1)).all():
            found = np.array2string(array, threshold=10)
            raise EnvironmentFailedError(f"the environments gave {name} that are neither true nor false, but {found}")
        return array.astype(bool)


def _mode(environments: VectorEnv) -> AutoresetMode:
    mode = (environments.metadata or {}).get("autoreset_mode")
    # SuperSuit's vectors of PettingZoo environments reset in the same step and give the final observation in infos.
    if mode is None and type(environments.unwrapped).__module__.partition(".")[0] == "supersuit":
        return AutoresetMode.SAME_STEP
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise ValueError(
            f"the vector environment does not say how it resets: metadata['autoreset_mode'] is {mode}, and must be "
            "NEXT_STEP, SAME_STEP or DISABLED of gymnasium.vector.AutoresetMode"
        ) from None

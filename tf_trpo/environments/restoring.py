"""Going back to a state of an environment: what branches of an episode need."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from tf_trpo.environments.probing import fingerprint, mask_in, random_action

_DRAWS = ("mujoco_renderer", "renderer", "viewer", "window", "screen", "clock")
"""Attributes by which environments draw themselves: they are no part of a state, and most cannot be copied."""
_ADVICE = (
    "vine_states must be 0 for this environment. Branches need one that is computed in Python, or one of Gymnasium's "
    "MuJoCo environments, with all that it remembers in attributes"
)


class Restorable:
    """Saves a state of an environment, and sets it again.

    A state is what the attributes of the environment hold, those of its wrappers and of other environments within
    included: copies of these, the data of MuJoCo simulations and the states of random number generators. Spaces, MuJoCo
    models and what draws are taken to stay as they are. Copies of a whole environment would not do: those of
    `gymnasium.utils.EzPickle`, MuJoCo's among them, are made anew, without their states.

    Args:
      env: the environment, with its wrappers.
    """

    def __init__(self, env: gym.Env) -> None:
        self._envs = list(_environments_in(env, set()))
        self._simulations: list[tuple[Any, Any]] = []
        """Data of the MuJoCo simulations, each with the place for its copy."""

    def save(self) -> None:
        """Save the present state in the place of the one before.

        Raises:
          ValueError: an attribute cannot be copied.
        """
        self._shared: dict[int, Any] = {id(env): env for env in self._envs}
        self._undo: list[Callable[[], Any]] = []
        for env in self._envs:
            for name, value in vars(env).items():
                if name in _DRAWS or isinstance(value, EnvSpec) or self._is_set_back(value):
                    self._shared[id(value)] = value
        memo = dict(self._shared)
        self._saved = [_copied(env, vars(env), memo) for env in self._envs]

    def restore(self) -> None:
        """Set the state that was saved last; it stays saved."""
        memo = dict(self._shared)
        for env, saved in zip(self._envs, self._saved, strict=True):
            attributes = _copied(env, saved, memo)
            vars(env).clear()
            vars(env).update(attributes)
        for undo in self._undo:
            undo()

    def _is_set_back(self, value: Any) -> bool:
        """Note how to set an object back that stays the same object; tell whether it is one."""
        if isinstance(value, np.random.Generator):
            self._undo.append(functools.partial(setattr, value.bit_generator, "state", value.bit_generator.state))
            return True
        if isinstance(value, gym.Space):
            # To seed a space gives it another generator.
            for space in _spaces_in(value):
                generator = vars(space).get("_np_random")
                self._undo.append(functools.partial(setattr, space, "_np_random", generator))
                self._is_set_back(generator)
            return True
        mujoco = sys.modules.get("mujoco")
        if mujoco is None or not isinstance(value, mujoco.MjData):
            return mujoco is not None and isinstance(value, mujoco.MjModel)
        kept = next((place for data, place in self._simulations if data is value), None)
        if kept is None:
            kept = mujoco.MjData(value.model)
            self._simulations.append((value, kept))
        # All of the data: observations and rewards also read what MuJoCo has computed from the state of before.
        mujoco.mj_copyData(kept, value.model, value)
        self._undo.append(functools.partial(mujoco.mj_copyData, value, value.model, kept))
        return True


def check_restorable(env: gym.Env, steps: int = 100) -> None:
    """Check that an environment can go back to its states: play the same actions from a state again, and compare.

    Afterwards, the environment is as it was.

    Args:
      env: the environment, with its wrappers.
      steps: to play at most, by random actions that masks allow, each three times, from two states of an episode.

    Raises:
      ValueError: a state cannot be saved, or the same steps gave other observations, rewards or costs.
      EnvironmentFailedError: the environment failed.
    """
    space, before, restorable = copy.deepcopy(env.action_space), Restorable(env), Restorable(env)
    before.save()
    observation, _ = env.reset(seed=0)
    lead: list[Any] = []
    for place in ("when reset", "within an episode"):
        for action in lead:
            observation = env.step(action)[0]
        restorable.save()
        found, taken = [], []
        for _ in range(3):
            space.seed(0)
            bits, actions = _played(env, space, copy.deepcopy(observation), steps)
            found.append(bits)
            taken.append(actions)
            restorable.restore()
        if not found[0] == found[1] == found[2]:
            raise ValueError(f"the environment does not go back to the state that it had {place}: {_ADVICE}")
        lead = taken[0][: len(taken[0]) // 2]
    before.restore()


def _played(env: gym.Env, space: gym.Space, observation: Any, steps: int) -> tuple[list[bytes], list[Any]]:
    """Play random actions to the end of the episode at most; give the bits of all steps, and the actions."""
    rng, bits, actions = np.random.default_rng(0), [], []
    for _ in range(steps):
        action = random_action(space, mask_in(observation), rng)
        observation, reward, terminated, truncated, info = env.step(action)
        actions.append(action)
        bits.append(fingerprint((observation, float(reward), bool(terminated), bool(truncated), *info.values())))
        if terminated or truncated:
            break
    return bits, actions


def _copied(env: gym.Env, attributes: dict[str, Any], memo: dict[int, Any]) -> dict[str, Any]:
    """Copy attributes; by the memo of all copies, two names of one object stay so."""
    copies = {}
    for name, value in attributes.items():
        try:
            copies[name] = copy.deepcopy(value, memo)
        except Exception as error:
            raise ValueError(f"{type(env).__name__}.{name} cannot be copied ({error}): {_ADVICE}") from error
    return copies


def _environments_in(env: gym.Env, seen: set[int]) -> Iterator[gym.Env]:
    """Give an environment and all that it holds as attributes, wrapped ones first of all."""
    if id(env) not in seen:
        seen.add(id(env))
        yield env
        for value in vars(env).values():
            if isinstance(value, gym.Env):
                yield from _environments_in(value, seen)


def _spaces_in(space: gym.Space) -> Iterator[gym.Space]:
    """Give a space and its parts, each of which draws elements by a generator of its own."""
    yield space
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for part in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            yield from _spaces_in(part)

"""Save and restore the states of environments, for branches of episodes."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from tf_trpo.environments.probing import take_steps

_DRAWS = ("mujoco_renderer", "renderer", "viewer", "window", "screen", "clock")
"""Names of attributes that may hold renderers, which are not a part of the state."""
_DRAWING = ("gymnasium", "mujoco", "pygame", "pyglet", "glfw")
"""Packages of renderers. Some of these can be copied, but then a window would no longer show what is drawn."""
_ADVICE = (
    "vine_states must be 0 for this environment. Branches need one that is computed in Python, or one of Gymnasium's "
    "MuJoCo environments, with all that it remembers in attributes"
)
_CHECKED_STEPS = 100
"""Largest number of steps from a state, with random actions that masks allow, in `check_restorable`."""


class Restorable:
    """Saves a state of an environment, and restores it.

    A state consists of the attributes of the environment, of its wrappers, and of environments that are attributes of
    these. Attributes are copied. MuJoCo's data and random number generators stay the same objects, and their states are
    saved. Spaces (except for their generators), MuJoCo's models and renderers are assumed not to change; an attribute
    with the name of a renderer is one if it comes from a package of these, or cannot be copied. To copy a whole
    environment would not work: `copy.deepcopy` makes a new one, without the state, of each environment that derives
    from `gymnasium.utils.EzPickle`, such as MuJoCo's.

    Args:
      env: the environment, with its wrappers.
    """

    def __init__(self, env: gym.Env) -> None:
        self._envs = list(_environments_in(env, set()))
        self._simulations: list[tuple[Any, Any]] = []
        """The data of each MuJoCo simulation of the saved state, and the object that holds its copy."""

    def save(self) -> None:
        """Save the present state instead of the one saved before.

        Raises:
          ValueError: an attribute cannot be copied.
        """
        self._shared: dict[int, Any] = {id(env): env for env in self._envs}
        self._undo: list[Callable[[], Any]] = []
        # An environment may make new data at each reset; then the data of earlier episodes is not needed any more.
        self._earlier, self._simulations = self._simulations, []
        for env in self._envs:
            for value in vars(env).values():
                if isinstance(value, EnvSpec) or self._is_set_back(value):
                    self._shared[id(value)] = value
        self._earlier = []
        for env in self._envs:
            for name in _DRAWS:
                value = vars(env).get(name)
                if value is not None and _is_renderer(value, self._shared):
                    self._shared[id(value)] = value
        memo = dict(self._shared)
        self._saved = [_copied(env, vars(env), memo) for env in self._envs]

    def restore(self) -> None:
        """Restore the state that was saved last, as often as needed."""
        memo = dict(self._shared)
        for env, saved in zip(self._envs, self._saved, strict=True):
            attributes = _copied(env, saved, memo)
            vars(env).clear()
            vars(env).update(attributes)
        for undo in self._undo:
            undo()

    def _is_set_back(self, value: Any) -> bool:
        """Return whether an object is not copied but kept; if so, note how to restore its state."""
        if isinstance(value, np.random.Generator):
            self._undo.append(functools.partial(setattr, value.bit_generator, "state", value.bit_generator.state))
            return True
        if isinstance(value, gym.Space):
            # Seeding a space replaces its generator.
            for space in _spaces_in(value):
                generator = vars(space).get("_np_random")
                self._undo.append(functools.partial(setattr, space, "_np_random", generator))
                self._is_set_back(generator)
            return True
        mujoco = sys.modules.get("mujoco")
        if mujoco is None or not isinstance(value, mujoco.MjData):
            return mujoco is not None and isinstance(value, mujoco.MjModel)
        if any(data is value for data, _ in self._simulations):
            return True
        kept = next((place for data, place in self._earlier if data is value), None)
        kept = mujoco.MjData(value.model) if kept is None else kept
        self._simulations.append((value, kept))
        # All of the data, since observations and rewards also read results that MuJoCo computed from earlier states.
        mujoco.mj_copyData(kept, value.model, value)
        self._undo.append(functools.partial(mujoco.mj_copyData, value, value.model, kept))
        return True


def check_restorable(env: gym.Env) -> None:
    """Check that the states of an environment can be restored, by taking the same steps from a state three times.

    This is done from two states of an episode. Afterwards, the environment is in the state that it had before.

    Args:
      env: the environment, with its wrappers.

    Raises:
      ValueError: a state cannot be saved, or the steps gave other observations, rewards, ends or costs when repeated.
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
            bits, actions = take_steps(env, space, copy.deepcopy(observation), np.random.default_rng(0), _CHECKED_STEPS)
            found.append(bits)
            taken.append(actions)
            restorable.restore()
        if not found[0] == found[1] == found[2]:
            raise ValueError(f"the environment does not go back to the state that it had {place}: {_ADVICE}")
        lead = taken[0][: len(taken[0]) // 2]
    before.restore()


def _copied(env: gym.Env, attributes: dict[str, Any], memo: dict[int, Any]) -> dict[str, Any]:
    """Copy attributes; the memo is shared by all copies, so that two names of one object stay names of one object."""
    copies = {}
    for name, value in attributes.items():
        try:
            copies[name] = copy.deepcopy(value, memo)
        except Exception as error:
            raise ValueError(f"{type(env).__name__}.{name} cannot be copied ({error}): {_ADVICE}") from error
    return copies


def _environments_in(env: gym.Env, seen: set[int]) -> Iterator[gym.Env]:
    """Yield an environment and, recursively, all environments that are its attributes."""
    if id(env) not in seen:
        seen.add(id(env))
        yield env
        for value in vars(env).values():
            if isinstance(value, gym.Env):
                yield from _environments_in(value, seen)


def _is_renderer(value: Any, shared: dict[int, Any]) -> bool:
    """Return whether an object that has the name of a renderer is one, rather than a part of the state."""
    if type(value).__module__.split(".")[0] in _DRAWING:
        return True
    try:
        copy.deepcopy(value, dict(shared))
    except Exception:
        return True
    return False


def _spaces_in(space: gym.Space) -> Iterator[gym.Space]:
    """Yield a space and, recursively, its parts; each has its own random number generator."""
    yield space
    for value in vars(space).values():
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else (value,)
        for part in parts:
            if isinstance(part, gym.Space):
                yield from _spaces_in(part)

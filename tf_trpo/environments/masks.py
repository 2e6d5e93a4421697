"""Wrappers that add action masks to observations, or remove text from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tf_trpo.environments.failures import UnfitSpaceError
from tf_trpo.ranges import described, require
from tf_trpo.spaces import ACTION_MASK, MASKED_ACTIONS, choices, entries_of, is_text, joined_mask

ActionMasks = Literal["auto", "info", "off"]
"""Where masks come from.

"auto": from the method `action_masks()` of the environment or of a wrapper, if there is one (sb3-contrib's convention).
"info": from info["action_mask"]; this is not automatic, since only a reset shows whether an environment gives it.
"off": neither. An entry "action_mask" of a Dict observation is always the mask.
"""


def with_masks(env: gym.Env, source: ActionMasks) -> gym.Env:
    """Wrap an environment in `ActionMask` if the source of masks requires it.

    Raises:
      ValueError: the source is unknown, or masks are not supported for the action space.
    """
    require(source in get_args(ActionMasks), "action_masks", described(ActionMasks), source)
    space = env.observation_space
    has_mask = isinstance(space, spaces.Dict) and ACTION_MASK in space.spaces
    if source == "info" or (source == "auto" and callable(_method(env)) and not has_mask):
        return ActionMask(env, from_info=source == "info")
    return env


class ActionMask(gym.Wrapper):
    """Adds an entry "action_mask" to the observation: int8, one number per choice of each action, 1 if it is allowed.

    An observation that is not a Dict becomes {"observation": ..., "action_mask": ...}. At the end of an episode, a
    mask may be missing from the info; then all actions count as allowed.

    Args:
      env: an environment for whose action space `choices` is not None.
      from_info: use info["action_mask"] instead of `action_masks()`.

    Raises:
      ValueError: masks are not supported for the action space, or the observation has an entry "action_mask" already.
      RuntimeError: from `reset` and `step`: the mask is missing or has another size.
    """

    def __init__(self, env: gym.Env, *, from_info: bool = False) -> None:
        super().__init__(env)
        of_actions = choices(env.action_space)
        if of_actions is None:
            raise ValueError(f'{MASKED_ACTIONS}, not those of {env.action_space}: action_masks must be "off"')
        self._size = int(of_actions.counts.sum())
        self._from_info = from_info
        entries = entries_of(env.observation_space)
        if ACTION_MASK in entries:
            raise ValueError('the observation has an entry "action_mask" already: action_masks must be "off"')
        self.observation_space = spaces.Dict({**entries, ACTION_MASK: spaces.MultiBinary(self._size)})

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        return self._with_mask(observation, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._from_info and ACTION_MASK not in info and (terminated or truncated):
            info = {**info, ACTION_MASK: np.ones(self._size, np.int8)}
        return self._with_mask(observation, info), reward, terminated, truncated, info

    def _with_mask(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        if not self._from_info:
            given = _method(self.env)()
        elif ACTION_MASK in info:
            given = info[ACTION_MASK]
        else:
            raise RuntimeError('action_masks is "info", and there is no info["action_mask"]')
        mask = joined_mask(given)
        if mask.shape != (self._size,) or not np.isin(mask, (0, 1)).all():
            raise RuntimeError(f"a mask of actions must be {self._size} times 0 or 1, got {mask}")
        return {**entries_of(observation), ACTION_MASK: mask.astype(np.int8)}


class WithoutText(gym.ObservationWrapper):
    """Removes text, such as MiniGrid's missions, from an observation that is a (nested) Dict or Tuple.

    Raises:
      ValueError: the observation consists of text only.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        left = _without_text(env.observation_space)
        if left is None:
            raise UnfitSpaceError(f"the observation space {env.observation_space} holds nothing but text")
        self.observation_space, self._cut = left

    def observation(self, observation: Any) -> Any:
        """Return the observation without its text."""
        return self._cut(observation)


def _method(env: gym.Env) -> Any:
    return env.get_wrapper_attr("action_masks") if env.has_wrapper_attr("action_masks") else None


def _without_text(space: spaces.Space) -> tuple[spaces.Space, Callable[[Any], Any]] | None:
    """Return the space without text and the function that removes text from its elements; None if nothing is left."""
    if is_text(space):
        return None
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return space, lambda element: element
    entries = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
    kept = {name: left for name, part in entries if (left := _without_text(part)) is not None}
    if not kept:
        return None
    if isinstance(space, spaces.Dict):
        named = {str(name): part for name, (part, _) in kept.items()}
        return spaces.Dict(named), lambda element: {name: cut(element[name]) for name, (_, cut) in kept.items()}
    rest = spaces.Tuple([part for part, _ in kept.values()])
    return rest, lambda element: tuple(cut(element[place]) for place, (_, cut) in kept.items())

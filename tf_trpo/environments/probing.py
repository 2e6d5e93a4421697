"""Play an environment with random actions and record what it does, for `check_environment`."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tf_trpo.environments.costs import COSTS, Cost
from tf_trpo.environments.failures import EnvironmentFailedError
from tf_trpo.environments.guarded import GuardedEnvironment
from tf_trpo.spaces import ACTION_MASK, choices, is_finite, parts

LONGEST = 30.0
"""Seconds after which a play ends, even if it has taken fewer steps than asked for."""


@dataclasses.dataclass
class Play:
    """A record of a play.

    Attributes:
      rewards: the reward of every step.
      lengths, returns: the length in steps and the return of every whole episode.
      endings: (terminated, truncated) at the end of every whole episode.
      infos: for every key that was asked for, the number of episodes whose last info has it.
      outside: description of the first number of an observation outside of its Box; None without one.
      not_finite: description of the first number that is not finite; None without one.
      empty_masks: number of steps at which the mask of some component of the action allowed no choice.
      mutated: whether an observation changed after it had been returned.
      unused_mask: whether there were masks in infos and none in observations.
      seconds: time that the environment itself took.
      failure: message of the failure that ended the play; None if nothing failed.
    """

    rewards: list[float] = dataclasses.field(default_factory=list)
    lengths: list[int] = dataclasses.field(default_factory=list)
    returns: list[float] = dataclasses.field(default_factory=list)
    endings: list[tuple[bool, bool]] = dataclasses.field(default_factory=list)
    infos: dict[str, int] = dataclasses.field(default_factory=dict)
    outside: str | None = None
    not_finite: str | None = None
    empty_masks: int = 0
    mutated: bool = False
    unused_mask: bool = False
    seconds: float = 0.0
    failure: str | None = None

    @property
    def rate(self) -> float:
        """Steps per second of the environment itself."""
        return len(self.rewards) / max(self.seconds, 1e-9)


class Watched(gym.Wrapper):
    """Measures an environment's time, and detects changes of observations that it has returned.

    Attributes:
      seconds: total time of all steps and resets.
      mutated: whether an observation has changed after it was returned.
      masks: whether there was a mask in an info.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.seconds = 0.0
        self.mutated = self.masks = False
        self._given: tuple[Any, bytes] | None = None

    def reset(self, **kwargs: Any) -> Any:
        return self._timed(lambda: self.env.reset(**kwargs))

    def step(self, action: Any) -> Any:
        return self._timed(lambda: self.env.step(action))

    def _timed(self, call: Any) -> Any:
        start = time.perf_counter()
        given = call()
        self.seconds += time.perf_counter() - start
        if self._given is not None and fingerprint(self._given[0]) != self._given[1]:
            self.mutated = True
        self._given = None
        # GuardedEnvironment refuses anything else.
        if isinstance(given, tuple) and given:
            self._given = given[0], fingerprint(given[0])
            self.masks |= isinstance(given[-1], Mapping) and ACTION_MASK in given[-1]
        return given


def play(env: gym.Env, steps: int, seed: int, info_keys: Sequence[str] = (), costs: Sequence[Cost] = ()) -> Play:
    """Play seeded episodes with random actions that masks allow.

    Args:
      env: an environment with its wrappers and a supported observation space.
      steps: environment steps to take; fewer if the environment fails or the steps take longer than `LONGEST`.
      seed: seed of the first episode and of the actions; each further episode has the next seed.
      info_keys: names of numbers in the infos of episode ends.
      costs: keys of infos, and functions, to compute in each step.
    """
    watched, seen = Watched(env), Play(infos=dict.fromkeys(info_keys, 0))
    guarded, rng = GuardedEnvironment(watched, 0, info_keys, costs), np.random.default_rng(seed)
    env.action_space.seed(seed)
    try:
        while len(seen.rewards) < steps and watched.seconds < LONGEST:
            _play_episode(guarded, watched, seen, steps, rng, seed + len(seen.lengths))
    except EnvironmentFailedError as error:
        seen.failure = str(error).removeprefix("environment 0 ")
    seen.mutated, seen.seconds = watched.mutated, watched.seconds
    in_observations = isinstance(env.observation_space, spaces.Dict) and ACTION_MASK in env.observation_space.spaces
    seen.unused_mask = watched.masks and not in_observations and choices(env.action_space) is not None
    return seen


def _play_episode(env: gym.Env, watched: Watched, seen: Play, steps: int, rng: np.random.Generator, seed: int) -> None:
    space = env.observation_space
    observation, _ = env.reset(seed=seed)
    _look(seen, space, observation, "reset")
    start, ended, of_actions = len(seen.rewards), False, choices(env.action_space)
    while not ended and len(seen.rewards) < steps and watched.seconds < LONGEST:
        mask = mask_in(observation)
        if mask is not None and of_actions is not None:
            seen.empty_masks += any(not bits.any() for bits in of_actions.split(mask))
        observation, reward, terminated, truncated, figures = env.step(random_action(env.action_space, mask, rng))
        for kind, value in [("reward", reward), *(("cost", cost) for cost in figures.get(COSTS, ()))]:
            if not np.isfinite(np.float32(value)) and seen.not_finite is None:
                seen.not_finite = f"a {kind} of {value} in step {len(seen.rewards) - start + 1} of an episode"
        seen.rewards.append(float(reward))
        ended = bool(terminated or truncated)
        _look(seen, space, observation, f"step {len(seen.rewards) - start} of an episode")
    if ended:
        seen.lengths.append(len(seen.rewards) - start)
        seen.returns.append(sum(seen.rewards[start:]))
        seen.endings.append((bool(terminated), bool(truncated)))
        for key in seen.infos:
            seen.infos[key] += not np.isnan(figures.get(key, np.nan))


def trace(env: gym.Env, seed: int, actions: list[Any] | None, steps: int) -> tuple[list[bytes], list[Any]]:
    """Play one episode from its seed, and record the bits of everything that the environment returns.

    Args:
      env: an environment with its wrappers.
      seed: seed of the episode.
      actions: actions to take; None for random ones.
      steps: maximum number of steps with random actions.

    Returns:
      The bits of the first observation and of each step, and the actions that were taken.

    Raises:
      EnvironmentFailedError: the environment failed.
    """
    guarded, rng = GuardedEnvironment(env, 0), np.random.default_rng(seed)
    observation, _ = guarded.reset(seed=seed)
    first = fingerprint(observation)
    found, taken = take_steps(guarded, env.action_space, observation, rng, steps, actions)
    return [first, *found], taken


def take_steps(
    env: gym.Env, space: gym.Space, observation: Any, rng: np.random.Generator, steps: int, actions: Any = None
) -> tuple[list[bytes], list[Any]]:
    """Take steps until the episode ends, and return the fingerprints of all steps, and the actions.

    Args:
      env: a guarded environment.
      space: its action space, which draws random actions.
      observation: the present observation.
      rng: random choices among the actions that a mask allows.
      steps: largest number of steps with random actions.
      actions: the actions to take; None for random ones.
    """
    found, taken = [], []
    for step in range(steps if actions is None else len(actions)):
        action = random_action(space, mask_in(observation), rng) if actions is None else actions[step]
        taken.append(action)
        observation, reward, terminated, truncated, info = env.step(action)
        # Other infos, such as an episode's time in seconds, may differ.
        step_found = observation, float(reward), bool(terminated), bool(truncated), info.get(COSTS, ())
        found.append(fingerprint(step_found))
        if terminated or truncated:
            break
    return found, taken


def random_action(space: gym.Space, mask: np.ndarray | None, rng: np.random.Generator) -> Any:
    """Draw an action that the mask [choices] allows. A component whose mask allows nothing may take every choice."""
    of_actions = choices(space)
    if mask is None or of_actions is None:
        return copy.deepcopy(space.sample())
    chosen = [rng.choice(np.flatnonzero(bits) if bits.any() else len(bits)) for bits in of_actions.split(mask)]
    action = np.reshape(chosen + of_actions.first, space.shape or ()).astype(space.dtype)
    return action[()] if isinstance(space, spaces.Discrete) else action


def mask_in(observation: Any) -> np.ndarray | None:
    """Return the action mask in an observation; None without one."""
    return np.ravel(observation[ACTION_MASK]) if isinstance(observation, dict) and ACTION_MASK in observation else None


def fingerprint(nest: Any) -> bytes:
    """Return the bits of a nest of arrays and numbers, in the order of `parts`."""
    if isinstance(nest, list):
        nest = tuple(nest)
    found = []
    for _, part in parts(nest):
        array = np.asarray(part)
        found.append(repr(part).encode() if array.dtype == object else array.tobytes())
    return b"|".join(found)


def boxes(space: gym.Space, value: Any = None, name: str = "") -> Iterator[tuple[str, spaces.Box, Any]]:
    """Yield (path, box, value) for each Box in a space, where value is the part of an element of the space."""
    if isinstance(space, spaces.Box):
        yield name, space, value
    elif isinstance(space, spaces.Dict | spaces.Tuple):
        named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in named:
            yield from boxes(part, None if value is None else value[key], f"{name}/{key}" if name else str(key))


def _look(seen: Play, space: gym.Space, observation: Any, when: str) -> None:
    for name, box, value in boxes(space, observation):
        array, where = np.asarray(value), f"of the observation{f' part {name}' if name else ''} after {when}"
        kind = array.dtype.kind
        bad = ~is_finite(array) if kind == "f" else np.zeros(array.shape, bool)
        if bad.any() and seen.not_finite is None:
            seen.not_finite = f"{array[bad][0]} at {_place(bad)} {where}"
        # Numbers that are not finite have a finding of their own.
        beyond = ~bad & ((array < box.low) | (array > box.high))
        if beyond.any() and seen.outside is None:
            bounds = f"[{box.low[beyond][0]}, {box.high[beyond][0]}]"
            seen.outside = f"{array[beyond][0]} at {_place(beyond)} {where}, whose bounds are {bounds}"


def _place(chosen: np.ndarray) -> str:
    return str(np.argwhere(chosen)[0].tolist())


def described_space(space: gym.Space) -> str:
    """Describe a space briefly, without the bounds of a large Box."""
    text = " ".join(str(space).split())
    if isinstance(space, Mapping) or len(text) <= 100:
        return text
    return f"{type(space).__name__} {space.shape}" if space.shape else f"{text[:97]}..."

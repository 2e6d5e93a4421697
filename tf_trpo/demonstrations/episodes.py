"""Demonstrations as arrays, and their conversion to a rollout."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf

from tf_trpo.distributions.categorical import MASKED
from tf_trpo.models import Policy
from tf_trpo.models.making import check_spaces
from tf_trpo.rollouts import Rollout
from tf_trpo.spaces import as_batch, mask_of


class Episode(NamedTuple):
    """L steps of one episode.

    Attributes:
      observations: the environment's observations, a nest of arrays [L + 1, ...]; the last row follows the last step.
      actions: the environment's actions, a nest of arrays [L, ...].
      rewards: the environment's rewards, float64 [L].
      terminated: whether the last step ended the episode in a terminal state, and not for another reason.
    """

    observations: Any
    actions: Any
    rewards: np.ndarray
    terminated: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Demonstrations:
    """Episodes in an environment, and the environment's spaces.

    Attributes:
      observation_space, action_space: Gymnasium spaces.
      episodes: at least one episode, each with at least one step.
      environment: Gymnasium id of the environment; None if it has none, or was changed by arguments or wrappers.

    Raises:
      ValueError: there is no episode, or an episode has no step, arrays of inconsistent lengths, a reward that is not
        finite, or an action outside of the space. Float actions beyond finite bounds are accepted.
    """

    observation_space: gym.Space
    action_space: gym.Space
    episodes: Sequence[Episode]
    environment: str | None = None

    def __post_init__(self) -> None:
        if not self.episodes:
            raise ValueError("demonstrations need an episode")
        for number, episode in enumerate(self.episodes):
            length = len(episode.rewards)
            found = {len(part) for part in tf.nest.flatten(episode.actions)}
            seen = {len(part) for part in tf.nest.flatten(episode.observations)}
            if not length or found != {length} or seen != {length + 1}:
                raise ValueError(
                    f"episode {number} has {length} rewards, {sorted(found)} actions and {sorted(seen)} observations: "
                    "L steps have L + 1 observations, and L is at least 1"
                )
            if not np.isfinite(episode.rewards).all():
                raise ValueError(f"episode {number} has a reward that is not finite")
            if not _fit(self.action_space, episode.actions):
                raise ValueError(f"episode {number} has an action that does not lie in {self.action_space}")

    @property
    def returns(self) -> np.ndarray:
        """The undiscounted returns of the episodes, float64."""
        return np.array([episode.rewards.sum() for episode in self.episodes])

    @property
    def lengths(self) -> np.ndarray:
        """The lengths of the episodes in steps, int64."""
        return np.array([len(episode.rewards) for episode in self.episodes])

    def rollout(self, policy: Policy) -> Rollout:
        """Concatenate the episodes to a rollout of one environment, as if the policy had acted.

        Each episode is followed by a row that is not a step, as with NEXT_STEP autoreset: T = sum(L + 1).

        Raises:
          ValueError: the spaces differ from the policy's, an observation is not finite, or an action was masked.
        """
        check_spaces(policy, self.observation_space, self.action_space, "the demonstrations show")
        batches = [as_batch(policy.encoder.spec, episode.observations)[0] for episode in self.episodes]
        batches.append(tf.nest.map_structure(lambda rows: rows[-1:], batches[-1]))
        observations = tf.nest.map_structure(lambda *rows: np.concatenate(rows)[:, None], *batches)
        sampled = [policy.action_distribution.from_environment(episode.actions) for episode in self.episodes]
        for number, (seen, taken) in enumerate(zip(batches, sampled, strict=False)):
            if _is_any_masked(policy, tf.nest.map_structure(lambda rows: rows[:-1], seen), taken):
                raise ValueError(f"episode {number} has an action that the observation's action mask forbids")
        lasts = np.cumsum(self.lengths + 1) - 2
        ends, valid = (np.full(lasts[-1] + 2, value) for value in (False, True))
        ends[lasts], valid[lasts + 1] = True, False
        terminated = ends.copy()
        terminated[lasts] = [episode.terminated for episode in self.episodes]
        actions = np.concatenate([_padded(each) for each in sampled])
        rewards = np.concatenate([_padded(np.asarray(episode.rewards, np.float64)) for episode in self.episodes])
        truncated = ends & ~terminated
        of_one = actions[:, None], rewards[:, None], terminated[:, None], truncated[:, None], valid[:, None]
        return Rollout(observations, *of_one)


def _fit(space: gym.Space, actions: Any) -> bool:
    """Return whether actions, a nest of arrays [L, ...], lie in a space; float actions must only be finite."""
    if isinstance(space, gym.spaces.Dict):
        is_nest = isinstance(actions, Mapping) and actions.keys() == space.keys()
        return is_nest and all(_fit(part, actions[name]) for name, part in space.items())
    if isinstance(space, gym.spaces.Tuple):
        is_nest = isinstance(actions, tuple) and len(actions) == len(space)
        return is_nest and all(_fit(part, given) for part, given in zip(space, actions, strict=True))
    actions = np.asarray(actions)
    if actions.dtype.kind not in "biuf" or actions.shape[1:] != space.shape:
        return False
    if space.dtype is not None and space.dtype.kind in "iu" and not np.array_equal(actions, np.floor(actions)):
        return False
    if isinstance(space, gym.spaces.Discrete | gym.spaces.MultiDiscrete):
        first = space.start
        last = first + (space.n if isinstance(space, gym.spaces.Discrete) else space.nvec) - 1
        return bool(((actions >= first) & (actions <= last)).all())
    if isinstance(space, gym.spaces.MultiBinary):
        return bool(np.isin(actions, (0, 1)).all())
    if isinstance(space, gym.spaces.Box) and space.dtype.kind in "iu":
        return bool(((actions >= space.low) & (actions <= space.high)).all())
    return bool(np.isfinite(actions).all())


def _is_any_masked(policy: Policy, observations: Any, actions: np.ndarray) -> bool:
    """Return whether a mask in the observations forbids one of the actions, as sampled by the policy."""
    mask = mask_of(policy.encoder.spec, observations)
    if mask is None:
        return False
    distribution = policy.action_distribution
    flat = tf.zeros([len(actions), distribution.one_row().shape[1]])
    return bool(
        tf.reduce_any(distribution.log_prob(distribution.masked(flat, tf.constant(mask)), actions) < MASKED / 2)
    )


def _padded(rows: np.ndarray) -> np.ndarray:
    """Append a row of zeros of the same dtype."""
    return np.concatenate([rows, np.zeros_like(rows[:1])])

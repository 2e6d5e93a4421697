"""Demonstrations as arrays, and their conversion to a rollout."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf

from tf_trpo.models import Policy
from tf_trpo.models.making import check_spaces
from tf_trpo.rollouts import Rollout
from tf_trpo.spaces import as_batch


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
      environment: Gymnasium id of the environment; None if it has none.

    Raises:
      ValueError: there is no episode, or an episode has no step or arrays of inconsistent lengths.
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
          ValueError: the spaces differ from the policy's, or an observation is not finite.
        """
        check_spaces(policy, self.observation_space, self.action_space, "the demonstrations show")
        batches = [as_batch(policy.encoder.spec, episode.observations)[0] for episode in self.episodes]
        batches.append(tf.nest.map_structure(lambda rows: rows[-1:], batches[-1]))
        observations = tf.nest.map_structure(lambda *rows: np.concatenate(rows)[:, None], *batches)
        sampled = [policy.action_distribution.from_environment(episode.actions) for episode in self.episodes]
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


def _padded(rows: np.ndarray) -> np.ndarray:
    """Append a row of zeros of the same dtype."""
    return np.concatenate([rows, np.zeros_like(rows[:1])])

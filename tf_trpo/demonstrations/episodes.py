"""Demonstrations as arrays, and as a rollout."""

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
      observations: a nest of arrays [L + 1, ...], as the environment gives them; the last row follows the last step.
      actions: a nest of arrays [L, ...], as the environment takes them.
      rewards: float64 [L], the environment's own.
      terminated: whether the last step ended the episode in a terminal state, and not for another reason.
    """

    observations: Any
    actions: Any
    rewards: np.ndarray
    terminated: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Demonstrations:
    """Episodes in an environment of these spaces.

    Attributes:
      observation_space, action_space: Gymnasium's.
      episodes: at least one, of at least one step each.
      environment: Gymnasium's id of the environment; None if it has none.

    Raises:
      ValueError: there is no episode, or one without a step or with arrays of other lengths.
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
        """The episodes' undiscounted returns, float64."""
        return np.array([episode.rewards.sum() for episode in self.episodes])

    @property
    def lengths(self) -> np.ndarray:
        """The episodes' numbers of steps, int64."""
        return np.array([len(episode.rewards) for episode in self.episodes])

    def rollout(self, policy: Policy) -> Rollout:
        """Lay the episodes one after the other in a rollout of one environment, as if the policy had acted.

        After each episode there is a row that is no step, as with NEXT_STEP autoreset: T = sum(L + 1).

        Raises:
          ValueError: the spaces are not the policy's, or an observation is not finite.
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
    """Add a row of zeros, whose type is the rows' own."""
    return np.concatenate([rows, np.zeros_like(rows[:1])])

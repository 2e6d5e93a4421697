"""Returns and lengths of whole episodes, which may span rollouts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tf_trpo.rollouts.rollout import Rollout


class Episode(NamedTuple):
    """A whole episode: the undiscounted sum of the environment's own rewards, and its steps."""

    episode_return: float
    length: int


class EpisodeTracker:
    """Adds up rewards until episodes end.

    Args:
      num_envs: environments stepped together.

    Attributes:
      returns: float64 [B], so far, of the episodes that go on.
      lengths: int64 [B], likewise.
    """

    def __init__(self, num_envs: int) -> None:
        self.returns = np.zeros(num_envs)
        self.lengths = np.zeros(num_envs, np.int64)

    def restart(self) -> None:
        """Forget the episodes that go on."""
        self.returns[:] = 0.0
        self.lengths[:] = 0

    def cut(self, column: int) -> Episode:
        """End the episode that goes on in an environment, as far as returns and lengths are concerned."""
        episode = Episode(float(self.returns[column]), int(self.lengths[column]))
        self.returns[column] = self.lengths[column] = 0
        return episode

    def finished(self, rollout: Rollout) -> list[list[Episode]]:
        """Episodes that end in a rollout, in order, one list for each environment."""
        ended = rollout.terminated | rollout.truncated
        return [self._finished_in(column, rollout, ended) for column in range(len(self.returns))]

    def _finished_in(self, column: int, rollout: Rollout, ended: np.ndarray) -> list[Episode]:
        rewards, valid = rollout.rewards[:, column], rollout.valid[:, column]
        episodes = []
        start = 0
        for end in (np.flatnonzero(ended[:, column]) + 1).tolist():
            total = self.returns[column] + rewards[start:end].sum()
            length = self.lengths[column] + np.count_nonzero(valid[start:end])
            episodes.append(Episode(float(total), int(length)))
            self.returns[column] = self.lengths[column] = 0
            start = end
        self.returns[column] += rewards[start:].sum()
        self.lengths[column] += valid[start:].sum()
        return episodes

"""Returns, costs and lengths of whole episodes, which may span rollouts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tf_trpo.rollouts.stepping import Rollout


class Episode(NamedTuple):
    """A whole episode.

    Attributes:
      episode_return: undiscounted sum of the environment's own rewards.
      length: number of steps.
      infos: finite figures of the last step's info, by key.
      costs: undiscounted sum of each cost.
    """

    episode_return: float
    length: int
    infos: Mapping[str, float] = MappingProxyType({})
    costs: tuple[float, ...] = ()


class EpisodeTracker:
    """Adds up the rewards and C costs of B environments until their episodes end.

    Attributes:
      returns: float64 [B], of the unfinished episodes so far.
      lengths: int64 [B], of the unfinished episodes so far.
      costs: float64 [B, C], of the unfinished episodes so far.
    """

    def __init__(self, num_envs: int, num_costs: int = 0) -> None:
        self.returns = np.zeros(num_envs)
        self.costs = np.zeros((num_envs, num_costs))
        self.lengths = np.zeros(num_envs, np.int64)

    def restart(self) -> None:
        """Forget the unfinished episodes."""
        self.returns[:] = 0.0
        self.costs[:] = 0.0
        self.lengths[:] = 0

    def cut(self, column: int, infos: Mapping[str, float] = MappingProxyType({})) -> Episode:
        """End an environment's unfinished episode, and return it as it is so far."""
        costs = tuple(self.costs[column].tolist())
        episode = Episode(float(self.returns[column]), int(self.lengths[column]), infos, costs)
        self.returns[column] = self.lengths[column] = 0
        self.costs[column] = 0.0
        return episode

    def finished(self, rollout: Rollout) -> list[list[Episode]]:
        """Add a rollout, and return the episodes that end in it, in order, one list for each environment."""
        return [self._finished_in(column, rollout) for column in range(len(self.returns))]

    def _finished_in(self, column: int, rollout: Rollout) -> list[Episode]:
        begins = np.flatnonzero(rollout.terminated[:, column] | rollout.truncated[:, column]) + 1
        rewards, valid = (np.split(rows[:, column], begins) for rows in (rollout.rewards, rollout.valid))
        costs = np.split(np.asarray(rollout.costs)[:, column], begins) if len(rollout.costs) else ()
        episodes = []
        for part in range(len(rewards)):
            self.returns[column] += rewards[part].sum()
            self.lengths[column] += valid[part].sum()
            if costs:
                self.costs[column] += costs[part].sum(axis=0)
            # The last part is unfinished, or empty.
            if part < len(begins):
                last = {name: float(figures[begins[part] - 1, column]) for name, figures in dict(rollout.infos).items()}
                infos = {name: figure for name, figure in last.items() if math.isfinite(figure)}
                episodes.append(self.cut(column, infos))
        return episodes


def mean_costs(episodes: Sequence[Episode], labels: Sequence[str], prefix: str) -> dict[str, float]:
    """Compute the mean total of each cost over episodes; each name is the prefix and the cost's label."""
    totals = np.mean([episode.costs for episode in episodes], axis=0)
    return {f"{prefix}{label}": float(total) for label, total in zip(labels, totals, strict=True)}


def mean_infos(episodes: Sequence[Episode]) -> dict[str, float]:
    """Compute the mean of each figure over the episodes that have it; names begin with "info/"."""
    names = sorted({name for episode in episodes for name in episode.infos})
    found = {name: [episode.infos[name] for episode in episodes if name in episode.infos] for name in names}
    return {f"info/{name}": float(np.mean(found[name])) for name in names}

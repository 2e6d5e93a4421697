"""Streams of rows as a vector environment with NEXT_STEP autoreset makes them."""

from typing import NamedTuple

import numpy as np
import pytest


class Stream(NamedTuple):
    """Float64 arrays [T, B], values [T + 1, B]; in the order of `gae`'s arguments."""

    rewards: np.ndarray
    values: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray

    @property
    def ended(self):
        return np.maximum(self.terminated, self.truncated)

    def with_pauses(self, times):
        """The stream with a row before each of these times in which nothing is stepped, and the numbers of the rows."""
        still = {name: np.insert(getattr(self, name), times, 0.0, axis=0) for name in self._fields}
        still["values"] = np.insert(self.values, times, self.values[times], axis=0)
        return Stream(**still), times + np.arange(len(times))

    def episode_from(self, t, b):
        """Rows from t to the end of the episode, or to where the rollout cuts it off."""
        rows = []
        for row in range(t, len(self.rewards)):
            rows.append(row)
            if self.ended[row, b]:
                break
        return rows


def next_step_stream(seed, length, environments):
    """Random episodes: after an ending comes a row that is no step, then a new episode."""
    generator = np.random.default_rng(seed)
    shape = (length, environments)
    rewards, (terminated, truncated, valid) = generator.normal(size=shape), np.zeros((3, *shape))
    for b in range(environments):
        resets = generator.random() < 0.3
        ending = generator.choice([0.0, 0.1, 0.3])
        for t in range(length):
            if resets:
                rewards[t, b] = 0.0
                resets = False
                continue
            valid[t, b] = 1.0
            terminated[t, b] = generator.random() < ending
            truncated[t, b] = generator.random() < ending
            resets = bool(terminated[t, b] or truncated[t, b])
    return Stream(rewards, generator.normal(size=(length + 1, environments)), terminated, truncated, valid)


@pytest.fixture(scope="session")
def make_stream():
    """(seed, T, B) -> `Stream`."""
    return next_step_stream

"""Streams of rows, as vector environments with NEXT_STEP autoreset produce them."""

from typing import NamedTuple

import numpy as np
import pytest


class Stream(NamedTuple):
    """The arguments of `gae` in order: float64 arrays [T, B], values [T + 1, B]."""

    rewards: np.ndarray
    values: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray

    @property
    def ended(self):
        return np.maximum(self.terminated, self.truncated)

    def with_pauses(self, times):
        """The stream with a pause before each of the given times, and the row numbers of the original rows."""
        still = {name: np.insert(getattr(self, name), times, 0.0, axis=0) for name in self._fields}
        still["values"] = np.insert(self.values, times, self.values[times], axis=0)
        return Stream(**still), times + np.arange(len(times))

    def episode_from(self, t, b):
        """Rows from t to the end of the episode or of the rollout."""
        rows = []
        for row in range(t, len(self.rewards)):
            rows.append(row)
            if self.ended[row, b]:
                break
        return rows


def next_step_stream(seed, length, environments):
    """Random episodes; after each end, there is a row that is not a step, and then a new episode."""
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

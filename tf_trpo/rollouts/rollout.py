"""A rollout: the steps of an iteration."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Rollout(NamedTuple):
    """T steps of B environments, time-major.

    With NEXT_STEP autoreset, the row after an episode's end is no step of any episode: its
    observation is the true final observation, its action is ignored, its reward is 0, and `valid` is
    False. So row t + 1 always holds the true successor of a valid row t.

    Attributes:
      observations: a nest of arrays [T + 1, B, ...], in the types of the environment; row T follows the last step.
      actions: [T, B, ...], as sampled: never clipped.
      rewards: float64 [T, B], the environment's own; 0 where not valid.
      terminated: bool [T, B], the step ended its episode in a terminal state.
      truncated: bool [T, B], the step ended its episode for another reason, such as a time limit.
      valid: bool [T, B], the row is a step of an episode, and no pause in one.
    """

    observations: Any
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray

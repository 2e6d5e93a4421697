"""A schedule in the place of a learned standard deviation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tf_trpo.distributions import Gaussian


class AnnealedStd(keras.callbacks.Callback):
    """Takes a Gaussian policy's standard deviation from its initial to a final value, geometrically over env steps.

    A learned one shrinks as fast as the trust region lets it, since less noise is the nearest way to a better return.
    Then there is nothing left to explore with. By a schedule, all of the trust region is for the mean.

    Between two policies that act one after the other, the schedule adds about d (log ratio / iterations)^2 to the KL,
    d the number of action dimensions: 2e-5 nats from 1 to 0.4 in 488 iterations of HalfCheetah.

    Args:
      final_std: in action units, > 0.
      steps: environment steps after which it is reached, >= 1; from there on it stays.

    Raises:
      ValueError: a setting out of range; when training begins, a policy that has no Gaussian's standard deviation
        or learns it (see `learned_std` of `Gaussian`).
    """

    def __init__(self, final_std: float, steps: int) -> None:
        super().__init__()
        if not final_std > 0:
            raise ValueError(f"final_std must be positive, got {final_std}")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self._final_std = final_std
        self._steps = steps

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        distribution = self.model.policy.action_distribution
        if not isinstance(distribution, Gaussian) or distribution.learned_std:
            raise ValueError("only the standard deviation of a Gaussian policy with learned_std=False can be annealed")
        self._set()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._set()

    def _set(self) -> None:
        policy, average = self.model.policy, self.model.policy_average
        progress = min(1.0, int(self.model.env_steps.numpy()) / self._steps)
        std = policy.action_distribution.initial_std ** (1 - progress) * self._final_std**progress
        for annealed in [policy] if average is None else [policy, average.policy]:
            annealed.action_distribution.set_std(std)

"""Typed records of an update's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_trpo.estimation import LowerBound
from tf_trpo.optimizers import Outcome


class PolicyResult(NamedTuple):
    """Result of the policy's stage of an update; scalar tensors.

    Attributes:
      outcome: of the policy optimizer's step.
      bound: the estimated lower bound on the return; see `estimate_lower_bound` for its limits.
      distribution: the action distribution's own figures by name, means over the valid samples after the step.
      normalization_kl: mean KL, in nats, between the policy before and after the update of its observation statistics;
        0 up to rounding, clipped observations and the first statistics, if the policy's function is preserved.
      statistics_are_finite: bool, whether the moments of observations and returns were finite, and so were used.
    """

    outcome: Outcome
    bound: LowerBound
    distribution: dict[str, tf.Tensor]
    normalization_kl: tf.Tensor
    statistics_are_finite: tf.Tensor


class ValueResult(NamedTuple):
    """Result of the value function's stage of an update; scalar tensors.

    Attributes:
      loss: mean of the minibatch losses; None without epochs, NaN if the fit was undone.
      explained_variance: of the targets by the values before the fit; NaN if the targets do not vary.
      learning_rate: of the value optimizer.
    """

    loss: tf.Tensor | None
    explained_variance: tf.Tensor
    learning_rate: tf.Tensor


class UpdateResult(NamedTuple):
    """Result of one update; `costs` has a result for each cost's value function."""

    policy: PolicyResult
    value: ValueResult
    costs: Sequence[ValueResult] = ()

"""What an update reports, as typed records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_trpo.estimation import LowerBound
from tf_trpo.optimizers import Outcome


class PolicyResult(NamedTuple):
    """What the policy's stage of an update did; scalar tensors.

    Attributes:
      outcome: of the policy optimizer's step.
      bound: the lower bound on the return, estimated; see `estimate_lower_bound` for what it is worth.
      distribution: the action distribution's own figures by name, means over the valid samples after the step.
      normalization_kl: mean KL, in nats, between the policy before and after it took in new statistics of observations;
        0 up to rounding, clipped observations and the first statistics, if the policy's function is preserved.
      statistics_are_finite: bool, whether the moments of observations and returns were finite and were taken in.
    """

    outcome: Outcome
    bound: LowerBound
    distribution: dict[str, tf.Tensor]
    normalization_kl: tf.Tensor
    statistics_are_finite: tf.Tensor


class ValueResult(NamedTuple):
    """What the value function's stage of an update did; scalar tensors.

    Attributes:
      loss: mean of the minibatch losses; None without any epoch, NaN if the fit was taken back.
      explained_variance: of the targets by the values before the fit; NaN if the targets do not vary.
      learning_rate: of the value optimizer.
    """

    loss: tf.Tensor | None
    explained_variance: tf.Tensor
    learning_rate: tf.Tensor


class UpdateResult(NamedTuple):
    """What one update did; costs has what the fit of each cost's value function did."""

    policy: PolicyResult
    value: ValueResult
    costs: Sequence[ValueResult] = ()

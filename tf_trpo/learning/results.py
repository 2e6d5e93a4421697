"""Typed records of an update's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_trpo.estimation import LowerBound
from tf_trpo.optimizers import Outcome


class PolicyResult(NamedTuple):
    """Result of the policy's stage of an update; scalars: tensors in the update, float64 arrays after it.

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
    """Result of the value function's stage of an update; scalars, as in `PolicyResult`.

    Attributes:
      loss: mean of the minibatch losses; None without epochs, NaN if the fit was undone.
      explained_variance: of the targets by the values before the fit; NaN if the targets do not vary.
      learning_rate: of the value optimizer.
    """

    loss: tf.Tensor | None
    explained_variance: tf.Tensor
    learning_rate: tf.Tensor


class UpdateResult(NamedTuple):
    """Result of one update, of float64 arrays; `costs` has a result for each cost's value function."""

    policy: PolicyResult
    value: ValueResult
    costs: Sequence[ValueResult] = ()


def joined(figures: Any) -> tf.Tensor:
    """Join a nest of small tensors and None as one float64 vector, so that a single transfer copies all of them.

    Every number and count of a result is exact in float64.
    """
    flat = (figure for figure in tf.nest.flatten(figures) if figure is not None)
    return tf.concat([tf.reshape(tf.cast(figure, tf.float64), [-1]) for figure in flat], 0)


def separated(vector: tf.Tensor, figures: Any) -> Any:
    """Copy a vector of `joined` as a nest of float64 arrays; of the joined figures, only the shapes are used."""
    shapes = [figure.shape for figure in tf.nest.flatten(figures) if figure is not None]
    arrays = iter(np.split(vector.numpy(), np.cumsum([shape.num_elements() for shape in shapes])[:-1]))
    return tf.nest.map_structure(lambda figure: None if figure is None else next(arrays).reshape(figure.shape), figures)


def fetched(result: UpdateResult, *others: Any) -> tuple[Any, ...]:
    """Return an update's results, with the first one's tensors as float64 arrays."""
    return separated(joined(result), result), *others

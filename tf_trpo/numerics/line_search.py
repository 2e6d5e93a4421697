"""Backtracking line search of Algorithm 1, line 9."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

from tf_trpo.lazy import tensorflow as tf


class LineSearchStatus(enum.IntEnum):
    """Accepted, or why the last (smallest) step was refused."""

    ACCEPTED = 0
    KL_ABOVE_LIMIT = 1
    """The objective improved, and the KL was above max_kl."""
    NO_IMPROVEMENT = 2
    """The objective did not improve: the surrogate, or the penalised one if a penalty is searched for."""
    NOT_FINITE = 3
    """The objective or the KL was not finite."""
    NO_DIRECTION = 4
    """There was nothing to search along: the step is zero or not finite."""
    NOT_USED = 5
    """Nothing was searched: the step of an algorithm without line search was taken."""


class LineSearchResult(NamedTuple):
    """Where the search ended.

    Attributes:
      theta: vector [P]: the accepted parameters, or the given ones, bit for bit.
      status: int32 scalar, a `LineSearchStatus`.
      backtracks: int32 scalar j: the step tried last was ratio^j times the full one.
      improvement: float64 scalar, surrogate(theta + ratio^j step) - surrogate(theta) of that step.
      kl: float64 scalar, the divergence of that step, in nats.
      figures: what else `evaluate` found at the parameters that are returned.
    """

    theta: tf.Tensor
    status: tf.Tensor
    backtracks: tf.Tensor
    improvement: tf.Tensor
    kl: tf.Tensor
    figures: tuple[tf.Tensor, ...] = ()


def backtracking_line_search(
    evaluate: Callable[[tf.Tensor], tuple[tf.Tensor, ...]],
    theta: tf.Tensor,
    step: tf.Tensor,
    *,
    max_kl: float | tf.Tensor,
    ratio: float = 0.8,
    max_backtracks: int = 10,
    figures: tuple[tf.Tensor, ...] = (),
) -> LineSearchResult:
    """First of theta + ratio^j step, j = 0 .. max_backtracks, that is better and near enough.

    A candidate is accepted when improvement > 0 and kl <= max_kl, exactly: there is no slack and no
    tolerance on either test.

    Args:
      evaluate: parameters [P] -> (improvement over theta, kl from theta, *figures), the first two float64
        scalars; the search decides by them, and carries the others along.
      theta: current parameters, float vector [P].
      step: full step, float vector [P].
      max_kl: limit of the divergence, > 0, in nats; a number or a float64 scalar.
      ratio: factor between candidates, alpha of Algorithm 1, in (0, 1).
      max_backtracks: K of Algorithm 1, >= 0.
      figures: those of theta itself, as many as `evaluate` gives.

    Returns:
      A `LineSearchResult`.

    Raises:
      ValueError: a setting outside its range.

    Source:
      Schulman et al. (2015), appendix C; lecture, Algorithm 1, line 9.
    """
    if not tf.is_tensor(max_kl) and not max_kl > 0:
        raise ValueError(f"max_kl must be positive, got {max_kl}")
    if not 0 < ratio < 1:
        raise ValueError(f"ratio must lie between 0 and 1, got {ratio}")
    if max_backtracks < 0:
        raise ValueError(f"max_backtracks must not be negative, got {max_backtracks}")

    scale = tf.constant(ratio, theta.dtype)

    def refused(j: tf.Tensor, status: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return (status != LineSearchStatus.ACCEPTED) & (j < max_backtracks)

    # The candidate travels with its verdict: computed again outside the loop, it could differ in the
    # last bit from the parameters that were tested.
    def attempt(j: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, ...]:
        candidate = theta + scale ** tf.cast(j + 1, theta.dtype) * step
        improvement, kl, *found = evaluate(candidate)
        return j + 1, _judge(improvement, kl, max_kl), improvement, kl, candidate, *found

    searchable = tf.reduce_all(tf.math.is_finite(step)) & tf.reduce_any(tf.not_equal(step, 0))
    zero = tf.constant(0.0, tf.float64)
    # A search without a direction starts at its end, so that it evaluates nothing.
    first = tf.where(searchable, -1, max_backtracks)
    no_direction = tf.constant(int(LineSearchStatus.NO_DIRECTION))
    start = [first, no_direction, zero, zero, theta, *figures]
    j, status, improvement, kl, candidate, *found = tf.while_loop(refused, attempt, start)
    accepted = tf.equal(status, LineSearchStatus.ACCEPTED)
    tried = tf.where(searchable, j, 0)
    kept = tuple(tf.where(accepted, new, old) for new, old in zip(found, figures, strict=True))
    return LineSearchResult(tf.where(accepted, candidate, theta), status, tried, improvement, kl, kept)


def _judge(improvement: tf.Tensor, kl: tf.Tensor, max_kl: float | tf.Tensor) -> tf.Tensor:
    finite = tf.math.is_finite(improvement) & tf.math.is_finite(kl)
    # tf.cast would take a Python number by way of float32, and round the limit.
    within = kl <= tf.convert_to_tensor(max_kl, kl.dtype)
    status = tf.where(within, int(LineSearchStatus.ACCEPTED), int(LineSearchStatus.KL_ABOVE_LIMIT))
    status = tf.where(improvement > 0, status, int(LineSearchStatus.NO_IMPROVEMENT))
    return tf.where(finite, status, int(LineSearchStatus.NOT_FINITE))

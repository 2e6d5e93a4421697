"""Backtracking line search of Algorithm 1, line 9."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.scalars import scalar
from tf_trpo.numerics.shapes import check_shapes


class LineSearchStatus(enum.IntEnum):
    """Accepted, or why the last (smallest) step was refused."""

    ACCEPTED = 0
    KL_ABOVE_LIMIT = 1
    """The objective improved, but the KL was above max_kl."""
    NO_IMPROVEMENT = 2
    """The objective (the surrogate, or the penalised surrogate) did not improve."""
    NOT_FINITE = 3
    """The objective or the KL was not finite."""
    NO_DIRECTION = 4
    """No step was tried: the full step is zero or not finite."""
    NOT_USED = 5
    """No step was tried: the algorithm has no line search."""
    COST_ABOVE_LIMIT = 6
    """The objective improved within max_kl, but a cost was above its limit."""
    ANCHOR_KL_ABOVE_LIMIT = 7
    """The objective improved within max_kl, but KL(anchor || policy) was above its limit."""


class Limit(NamedTuple):
    """A limit on a figure of a candidate.

    Attributes:
      largest: the largest allowed value; a number or a float64 scalar.
      refusal: the `LineSearchStatus` of a candidate whose figure is larger.
    """

    largest: float | tf.Tensor
    refusal: LineSearchStatus


class LineSearchResult(NamedTuple):
    """Parameters at which the search ended, and why it ended.

    Attributes:
      theta: the accepted parameters, float [P]. If no step was accepted, the initial parameters, bit for bit.
      status: int32 scalar, a `LineSearchStatus`.
      backtracks: int32 scalar j; the last step tried was ratio^j times the full step.
      improvement: improvement of the objective by the last step tried, float64 scalar.
      kl: KL of the last step tried, in nats, float64 scalar.
      figures: further figures of `evaluate` at the returned parameters.
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
    limits: Sequence[Limit] = (),
    ratio: float | tf.Tensor = 0.8,
    max_backtracks: int = 40,
    figures: tuple[tf.Tensor, ...] = (),
) -> LineSearchResult:
    """Find the first theta + ratio^j step, j = 0 .. max_backtracks, that improves the objective within all limits.

    A candidate is accepted if improvement > 0, kl <= max_kl, and each further limited figure is at most its limit. The
    comparisons are exact, without slack.

    Args:
      evaluate: parameters [P] -> (improvement over theta, KL from theta, one figure for each of the limits, *figures).
        All except `figures` are float64 scalars, on which the search depends.
      theta: current parameters, float [P].
      step: full step, float [P].
      max_kl: limit of the KL, in nats, > 0; a number or a float64 scalar.
      limits: limits in addition to max_kl.
      ratio: factor between candidates, alpha of Algorithm 1, in (0, 1); a number or a float scalar.
      max_backtracks: K of Algorithm 1, >= 0.
      figures: the values of `figures` for theta itself, as many as `evaluate` returns.

    Returns:
      A `LineSearchResult`.

    Raises:
      ValueError: a shape is wrong, `evaluate` does not return float64 scalars, or a setting is outside its range.

    Source:
      Schulman et al. (2015), appendix C; lecture, Algorithm 1, line 9.
    """
    check_shapes("backtracking_line_search", theta=(theta, "P"), step=(step, "P"), max_kl=(max_kl, ""))
    if not tf.is_tensor(max_kl) and not max_kl > 0:
        raise ValueError(f"max_kl must be positive, got {max_kl}")
    if not tf.is_tensor(ratio) and not 0 < ratio < 1:
        raise ValueError(f"ratio must lie between 0 and 1, got {ratio}")
    if max_backtracks < 0:
        raise ValueError(f"max_backtracks must not be negative, got {max_backtracks}")

    scale = scalar(ratio, theta.dtype)
    every = [Limit(max_kl, LineSearchStatus.KL_ABOVE_LIMIT), *limits]

    def refused(j: tf.Tensor, status: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return (status != LineSearchStatus.ACCEPTED) & (j < max_backtracks)

    # The loop carries the candidate together with its status. A candidate that is computed again outside the loop could
    # differ in the last bit from the parameters that were tested.
    def attempt(j: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, ...]:
        candidate = theta + scale ** tf.cast(j + 1, theta.dtype) * step
        improvement, *found = evaluate(candidate)
        limited, found = found[: len(every)], found[len(every) :]
        return j + 1, _judge(improvement, limited, every), improvement, limited[0], candidate, *found

    # One sum for both tests: it is finite if all numbers are finite, and 0 if all are 0.
    size = tf.reduce_sum(tf.abs(step))
    searchable = tf.math.is_finite(size) & (size > 0)
    zero = tf.constant(0.0, tf.float64)
    # Without a direction, the loop ends before its first evaluation.
    first = tf.where(searchable, -1, max_backtracks)
    start = [first, tf.constant(int(LineSearchStatus.NO_DIRECTION)), zero, zero, theta, *figures]
    j, status, improvement, kl, candidate, *found = tf.while_loop(refused, attempt, start)
    accepted = tf.equal(status, LineSearchStatus.ACCEPTED)
    tried = tf.where(searchable, j, 0)
    kept = tuple(tf.where(accepted, new, old) for new, old in zip(found, figures, strict=True))
    return LineSearchResult(tf.where(accepted, candidate, theta), status, tried, improvement, kl, kept)


def _judge(improvement: tf.Tensor, limited: Sequence[tf.Tensor], limits: Sequence[Limit]) -> tf.Tensor:
    """Compute the `LineSearchStatus` of a candidate; raise ValueError unless its figures are float64 scalars."""
    names = ["improvement", "kl", *(f"limited figure {place}" for place in range(1, len(limits)))]
    judged = dict(zip(names, [improvement, *limited], strict=True))
    check_shapes("backtracking_line_search", **{name: (figure, "") for name, figure in judged.items()})
    for name, figure in judged.items():
        if figure.dtype != tf.float64:
            # The comparison with a float32 KL would silently round the limit.
            raise ValueError(f"backtracking_line_search: {name} must be float64, got {figure.dtype}")
    finite, status = tf.math.is_finite(improvement), tf.constant(int(LineSearchStatus.ACCEPTED))
    # If several limits are exceeded, the status is that of the first one.
    for figure, limit in reversed(list(zip(limited, limits, strict=True))):
        finite &= tf.math.is_finite(figure)
        # tf.cast would convert a Python number to float32 first, and round the limit.
        within = figure <= tf.convert_to_tensor(limit.largest, figure.dtype)
        status = tf.where(within, status, int(limit.refusal))
    status = tf.where(improvement > 0, status, int(LineSearchStatus.NO_IMPROVEMENT))
    return tf.where(finite, status, int(LineSearchStatus.NOT_FINITE))

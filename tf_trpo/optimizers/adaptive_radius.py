"""An adaptive trust-region radius, which follows how well the linear model predicted the last improvement."""

from __future__ import annotations

import dataclasses

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import LineSearchResult, LineSearchStatus, scalar
from tf_trpo.ranges import require, require_allowed

_LEAST_SHARE = 1e-3
"""Smallest KL of a full step, as a share of the limit, at which the KL's quadratic model set its length."""


@dataclasses.dataclass(frozen=True)
class AdaptiveRadius:
    """Rule that grows or shrinks the limit on the KL after each step.

    rho is the actual improvement divided by the predicted one. The radius is a KL in nats. Textbooks measure the
    radius as a length, so a factor f on the radius here is a factor sqrt(f) on the length of the step.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Nocedal and Wright (2006), algorithm 4.1; lecture, "Primer: Trust-Region Methods".
    """

    min_radius: float = 1e-5
    """Smallest limit in nats, positive, and at most max_kl if that is given."""
    max_radius: float = 0.1
    """Largest limit in nats, finite, and at least max_kl if that is given."""
    shrink_below: float = 0.25
    """The limit shrinks if rho = actual / predicted improvement is below this, or if the step is refused; in [0, 1)."""
    expand_above: float = 0.75
    """The limit grows if rho is above this and the step reached the limit; between shrink_below and 1."""
    shrink_factor: float = 0.25
    """Factor on the limit if it shrinks, in (0, 1)."""
    expand_factor: float = 2.0
    """Factor on the limit if it grows, above 1 and finite."""

    def __post_init__(self) -> None:
        require_allowed(self, min_radius="(0, inf)", max_radius="(0, inf)", shrink_below="[0, 1)")
        require_allowed(
            self, expand_above=f"({self.shrink_below}, 1)", shrink_factor="(0, 1)", expand_factor="(1, inf)"
        )

    def check_start(self, radius: float) -> None:
        """Raise ValueError if the initial radius is outside [min_radius, max_radius]."""
        require(self.min_radius <= radius, "min_radius", f"at most max_kl ({radius})", self.min_radius)
        require(self.max_radius >= radius, "max_radius", f"at least max_kl ({radius})", self.max_radius)

    def clipped(self, radius: float) -> float:
        """Return the radius, clipped to [min_radius, max_radius]."""
        return min(max(radius, self.min_radius), self.max_radius)

    def after(
        self, radius: tf.Tensor, predicted: tf.Tensor, search: LineSearchResult, backtrack_ratio: float | tf.Tensor
    ) -> tf.Tensor:
        """Compute the radius of the next step.

        Args:
          radius: the radius of this step, float64 scalar.
          predicted: improvement of this step by the linear model, float64 scalar.
          search: result of this step's line search; its `kl` is the limited one.
          backtrack_ratio: ratio of successive candidates of the line search.

        Returns:
          float64 scalar in [min_radius, max_radius].
        """
        accepted = tf.equal(search.status, LineSearchStatus.ACCEPTED)
        # A zero gradient is no evidence against the model.
        no_direction = tf.equal(search.status, LineSearchStatus.NO_DIRECTION)
        rho = tf.math.divide_no_nan(search.improvement, predicted)
        # A step that was not shortened has reached the limit, unless the damped curvature set its length: then its KL
        # is about a millionth of the limit. A shortened step has reached the limit if the next longer candidate would
        # exceed it by the quadratic model.
        full = (search.backtracks == 0) & (search.kl >= _LEAST_SHARE * radius)
        reached = full | (search.kl >= backtrack_ratio**2 * radius)
        shrinks = ~no_direction & (~accepted | (rho < self.shrink_below))
        grows = accepted & (rho > self.expand_above) & reached
        # tf.where would make float32 tensors of Python numbers.
        shrink, expand, keep = (scalar(x, tf.float64) for x in (self.shrink_factor, self.expand_factor, 1.0))
        factor = tf.where(shrinks, shrink, tf.where(grows, expand, keep))
        return tf.clip_by_value(radius * factor, self.min_radius, self.max_radius)

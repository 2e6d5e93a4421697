"""The radius of a trust region that follows how well the model predicted the last improvement."""

from __future__ import annotations

import dataclasses

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import LineSearchResult, LineSearchStatus, scalar
from tf_trpo.ranges import require, require_allowed


@dataclasses.dataclass(frozen=True)
class AdaptiveRadius:
    """The rule by which the limit on the KL grows and shrinks after each step.

    rho is the actual improvement of the surrogate divided by the predicted one. The radius is in nats. The
    books measure the radius as a length, so a factor f on the radius here is a factor sqrt(f) on the step.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Nocedal and Wright (2006), algorithm 4.1; lecture, "Primer: Trust-Region Methods".
    """

    min_radius: float = 1e-5
    """Smallest limit, in nats, positive and at most max_kl, if that is given."""
    max_radius: float = 0.1
    """Largest limit, in nats, finite and at least max_kl, if that is given."""
    shrink_below: float = 0.25
    """The limit shrinks if rho = actual / predicted improvement is below this, or if no step was found; in [0, 1)."""
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
        """Raise ValueError if the radius cannot be the first one."""
        require(self.min_radius <= radius, "min_radius", f"at most max_kl ({radius})", self.min_radius)
        require(self.max_radius >= radius, "max_radius", f"at least max_kl ({radius})", self.max_radius)

    def clipped(self, radius: float) -> float:
        """Give the nearest radius in [min_radius, max_radius]."""
        return min(max(radius, self.min_radius), self.max_radius)

    def after(
        self, radius: tf.Tensor, predicted: tf.Tensor, search: LineSearchResult, backtrack_ratio: float | tf.Tensor
    ) -> tf.Tensor:
        """Compute the radius of the next step.

        Args:
          radius: the radius of this step, float64 scalar.
          predicted: the linear model's improvement at the end of the search, float64 scalar.
          search: how this step was found; its KL is the one that is limited.
          backtrack_ratio: the factor between two candidates of the search.

        Returns:
          float64 scalar in [min_radius, max_radius].
        """
        accepted = tf.equal(search.status, LineSearchStatus.ACCEPTED)
        # A gradient of zero says nothing against the model.
        nothing = tf.equal(search.status, LineSearchStatus.NO_DIRECTION)
        rho = tf.math.divide_no_nan(search.improvement, predicted)
        # A step that was not shortened has reached the limit. So has a step whose KL is as near to the limit as
        # backtracking comes: one candidate before it, by the quadratic model.
        reached = (search.backtracks == 0) | (search.kl >= backtrack_ratio**2 * radius)
        shrinks = ~nothing & (~accepted | (rho < self.shrink_below))
        grows = accepted & (rho > self.expand_above) & reached
        # tf.where would take Python numbers for float32.
        shrink, expand, keep = (scalar(x, tf.float64) for x in (self.shrink_factor, self.expand_factor, 1.0))
        factor = tf.where(shrinks, shrink, tf.where(grows, expand, keep))
        return tf.clip_by_value(radius * factor, self.min_radius, self.max_radius)

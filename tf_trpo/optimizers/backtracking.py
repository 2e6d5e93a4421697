"""The backtracking line search of a policy step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import Limit, LineSearchResult, backtracking_line_search
from tf_trpo.optimizers.objective import Objective
from tf_trpo.ranges import require_allowed


@dataclasses.dataclass(frozen=True)
class Backtracking:
    """Line search that takes the first acceptable candidate: ratio^j times the full step, j = 0 to max_backtracks.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Schulman et al. (2015), appendix C; lecture, Algorithm 1, line 9 (ratio alpha, at most K backtracks).
    """

    backtrack_ratio: float = 0.8
    """Factor between two candidates, in (0, 1)."""
    max_backtracks: int = 40
    """Largest number of candidates after the full step, in [0, 1000]. A nearly deterministic policy needs up to 30."""

    def __post_init__(self) -> None:
        require_allowed(self, backtrack_ratio="(0, 1)", max_backtracks="[0, 1000]")

    def search(
        self,
        objective: Objective,
        evaluate: Callable[[tf.Tensor], tuple[tf.Tensor, ...]],
        step: tf.Tensor,
        *,
        max_kl: float | tf.Tensor,
        limits: Sequence[Limit] = (),
        carried: tuple[tf.Tensor, ...] = (),
    ) -> LineSearchResult:
        """Search from the objective's parameters.

        Args:
          objective: at the old parameters.
          evaluate: theta [P] -> the value to improve, the limited KL, one figure for each of `limits`, the figures of
            `carried` at theta, and `PolicyFigures.tensors` at theta without the first one.
          step: the full step [P].
          max_kl: limit on the KL, in nats.
          limits: limits on further figures.
          carried: additional figures to return, at the old parameters.

        Returns:
          The `LineSearchResult`. Its figures are those of `carried`, then `PolicyFigures.tensors` without the first
          one, at the result's parameters.
        """
        return backtracking_line_search(
            evaluate,
            objective.theta,
            step,
            max_kl=max_kl,
            limits=limits,
            ratio=self.backtrack_ratio,
            max_backtracks=self.max_backtracks,
            figures=(*carried, *objective.old.figures.tensors[1:]),
        )

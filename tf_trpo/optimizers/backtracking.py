"""The line search of a policy step, and its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tf_trpo.numerics import LineSearchResult, backtracking_line_search
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.policy_optimizer import require


@dataclasses.dataclass(frozen=True)
class Backtracking:
    """Candidates ratio^j times the full step, j = 0 to max_backtracks.

    Attributes:
      backtrack_ratio: alpha of Algorithm 1, in (0, 1).
      max_backtracks: K of Algorithm 1, >= 0.

    Raises:
      ValueError: a setting outside its range.

    Source:
      Schulman et al. (2015), appendix C; lecture, Algorithm 1, line 9.
    """

    backtrack_ratio: float = 0.8
    max_backtracks: int = 10

    def __post_init__(self) -> None:
        require(0 < self.backtrack_ratio < 1, "backtrack_ratio", "between 0 and 1", self.backtrack_ratio)
        require(self.max_backtracks >= 0, "max_backtracks", "zero or positive", self.max_backtracks)

    def search(
        self,
        objective: Objective,
        evaluate: Callable[[tf.Tensor], tuple[tf.Tensor, ...]],
        step: tf.Tensor,
        *,
        max_kl: float | tf.Tensor,
    ) -> LineSearchResult:
        """Search from the objective's parameters.

        Args:
          objective: at the old parameters.
          evaluate: theta [P] -> what is to rise, the KL that is limited, and a policy's figures after the
            improvement: `PolicyFigures` without its first.
          step: the full one [P].
          max_kl: the limit, in nats.

        Returns:
          The `LineSearchResult`, with those figures.
        """
        return backtracking_line_search(
            evaluate,
            objective.theta,
            step,
            max_kl=max_kl,
            ratio=self.backtrack_ratio,
            max_backtracks=self.max_backtracks,
            figures=objective.old_figures()[1:],
        )

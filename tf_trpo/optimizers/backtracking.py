"""The line search of a policy step, and its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import Limit, LineSearchResult, backtracking_line_search
from tf_trpo.optimizers.objective import Objective
from tf_trpo.ranges import require_allowed


@dataclasses.dataclass(frozen=True)
class Backtracking:
    """Try ratio^j times the full step, j = 0 to max_backtracks, and take the first candidate that passes.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Schulman et al. (2015), appendix C; lecture, Algorithm 1, line 9 (ratio alpha, at most K backtracks).
    """

    backtrack_ratio: float = 0.8
    """Factor between two candidates, in (0, 1)."""
    max_backtracks: int = 10
    """Candidates after the full step, at most; in [0, 1000]."""

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
          evaluate: theta [P] -> what must rise, the KL that is limited, a figure for each of the further limits,
            figures like those that are carried, and `PolicyFigures.tensors` of the policy without the first one.
          step: the full step [P].
          max_kl: the limit, in nats.
          limits: further ones.
          carried: figures of the old policy.

        Returns:
          The `LineSearchResult`, with the figures that are carried and the policy's.
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

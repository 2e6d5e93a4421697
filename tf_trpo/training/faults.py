"""Faults, which are numbers in training that are not finite: their causes, and when there are too many."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.learning.results import UpdateResult
from tf_trpo.numerics import ConjugateGradientStatus, LineSearchStatus

_logger = logging.getLogger(__name__)
_NO_FIRST_DIRECTION = (ConjugateGradientStatus.NON_POSITIVE_CURVATURE, 0)
"""Status and iterations of conjugate gradient that ended at 0, although the gradient is not 0."""


class TrainingFailedError(RuntimeError):
    """Training cannot continue; the message names the cause, and the agent is as after its last sound update."""


class FaultLog:
    """Counts faults, and logs each with its cause.

    Args:
      limit: number of faults in a row at which training ends, >= 1.

    Attributes:
      total: faults so far.
      in_a_row: faults since the last iteration without one.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"max_faults must be at least 1, got {limit}")
        self._limit = limit
        self._last = ""
        self.total = 0
        self.in_a_row = 0

    def record(self, causes: Sequence[str], *, iteration: int, steps: int) -> None:
        """Count and log a fault with its causes, or note an iteration without a fault if there are no causes."""
        if not causes:
            self.in_a_row = 0
            return
        self.total += 1
        self.in_a_row += 1
        self._last = f"{'; '.join(causes)} (iteration {iteration}, after {steps} environment steps)"
        _logger.warning("fault %d: %s", self.total, self._last)

    def check(self) -> None:
        """Raise TrainingFailedError if there were too many faults in a row."""
        if self.in_a_row >= self._limit:
            raise TrainingFailedError(f"{self.in_a_row} faults in a row, the last one: {self._last}")


def update_faults(result: UpdateResult) -> list[str]:
    """Return what was not finite in an update, in words; those parts are undone.

    If a later Fisher-vector product is not finite, conjugate gradient returns its iterate before. A step along it that
    keeps the limits is as good as any, and so no fault.
    """
    outcome = result.policy.outcome
    searched = outcome.line_search_status
    causes = []
    if not np.isfinite(outcome.gradient_norm):
        causes.append("the policy gradient is not finite")
    elif not outcome.accepted and outcome.cg_status == ConjugateGradientStatus.BREAKDOWN:
        causes.append("a Fisher-vector product, or the right-hand side of its linear system, is not finite")
    elif searched == LineSearchStatus.NOT_FINITE:
        causes.append("the surrogate advantage, the KL or the weights of the new policy are not finite")
    elif searched == LineSearchStatus.NO_DIRECTION and (outcome.cg_iterations or 0) > 0 and outcome.restores is None:
        # With constraints, the best step may be 0.
        causes.append("the step has no finite length: the curvature along it is not a positive number")
    elif not outcome.accepted and (outcome.cg_status, outcome.cg_iterations) == _NO_FIRST_DIRECTION:
        causes.append("there is no direction to step in: the curvature along the first one is not a positive number")
    if any(value.loss is not None and not np.isfinite(value.loss) for value in (result.value, *result.costs)):
        causes.append("the value loss, its gradient or the fitted weights are not finite")
    if not result.policy.statistics_are_finite:
        causes.append("the moments of the observations or of the returns are not finite")
    return causes


def require_finite(groups: Mapping[str, Sequence[Any]]) -> None:
    """Raise TrainingFailedError if a variable is not finite, so that it is neither saved nor exported."""
    for group, variables in groups.items():
        for position, variable in enumerate(variables):
            values = tf.convert_to_tensor(variable)
            if values.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(values)):
                raise TrainingFailedError(f"variable {position} of the {group} is not finite")


def save_on_failure(callbacks: Sequence[Any], error: Exception) -> None:
    """Call `save_on_failure` of the callbacks that have it, by `save_after`."""
    for callback in callbacks:
        if hasattr(callback, "save_on_failure"):
            save_after(error, callback.save_on_failure)


def save_after(error: Exception, save: Callable[[], None]) -> None:
    """Call a function that saves the agent; if it fails, add a note with the reason to the error."""
    try:
        save()
    # Whatever it is, the first error is the one to see.
    except Exception as reason:
        error.add_note(f"The agent could not be saved: {reason}")

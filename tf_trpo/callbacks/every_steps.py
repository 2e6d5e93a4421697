"""Every so many environment steps, although an iteration takes many at once."""

from __future__ import annotations

import math


class EverySteps:
    """Tells if a multiple of `steps` was passed; a resumed training gets the same answers as a whole one.

    Args:
      steps: >= 1, or None for never.

    Raises:
      ValueError: steps is less than 1.
    """

    def __init__(self, steps: int | None) -> None:
        if steps is not None and steps < 1:
            raise ValueError(f"every_steps must be at least 1, got {steps}")
        self._steps = math.inf if steps is None else steps
        self._passed = 0.0

    def start(self, total: int) -> None:
        """Begin, or continue, after `total` steps."""
        self._passed = total // self._steps

    def reached(self, total: int) -> bool:
        """Tell if a multiple was passed since the last call."""
        passed, self._passed = self._passed, total // self._steps
        return self._passed > passed
